//! Names in many scripts, each with the Latin spelling that its e-mail address uses.

/// Given names and family names of one script: (as written, as in an address).
pub(crate) struct Script {
    pub(crate) given: &'static [(&'static str, &'static str)],
    pub(crate) family: &'static [(&'static str, &'static str)],
    /// Whether the family name is written first.
    pub(crate) family_first: bool,
}

const fn script(given: &'static [(&'static str, &'static str)], family: &'static [(&'static str, &'static str)]) -> Script {
    Script { given, family, family_first: false }
}

const fn family_first(given: &'static [(&'static str, &'static str)], family: &'static [(&'static str, &'static str)]) -> Script {
    Script { given, family, family_first: true }
}

/// Latin comes first and is used most.
pub(crate) const SCRIPTS: &[Script] = &[
    script(
        &[
            ("Ada", "ada"),
            ("John", "john"),
            ("Maria", "maria"),
            ("Olivia", "olivia"),
            ("Peter", "peter"),
            ("Grace", "grace"),
            ("Liam", "liam"),
            ("Emma", "emma"),
            ("Noah", "noah"),
            ("Ruth", "ruth"),
            ("Samuel", "samuel"),
            ("Alice", "alice"),
        ],
        &[
            ("Smith", "smith"),
            ("O'Brien", "obrien"),
            ("van den Berg", "vandenberg"),
            ("Johnson-Lee", "johnson-lee"),
            ("Rossi", "rossi"),
            ("Clarke", "clarke"),
            ("Okafor", "okafor"),
            ("Schmidt", "schmidt"),
            ("\"Mac\" McRae", "mcrae"),
        ],
    ),
    script(
        &[("Zoë", "zoe"), ("Łukasz", "lukasz"), ("Søren", "soren"), ("Çağla", "cagla"), ("Ángel", "angel"), ("Željko", "zeljko")],
        &[("Müller", "mueller"), ("Núñez", "nunez"), ("Ødegård", "odegard"), ("Dvořák", "dvorak"), ("Şahin", "sahin"), ("Țîrcă", "tirca")],
    ),
    script(
        &[("Ольга", "olga"), ("Дмитрий", "dmitry"), ("Їржі", "yirzhi"), ("Мария", "mariya")],
        &[("Иванова", "ivanova"), ("Шевченко", "shevchenko"), ("Ђорђевић", "djordjevic")],
    ),
    script(&[("Ελένη", "eleni"), ("Γιώργος", "giorgos")], &[("Παπαδοπούλου", "papadopoulou"), ("Νικολάου", "nikolaou")]),
    script(&[("محمد", "mohammed"), ("فاطمة", "fatima"), ("ليلى", "layla")], &[("الحداد", "alhaddad"), ("منصور", "mansour")]),
    script(&[("נועה", "noa"), ("דוד", "david")], &[("כהן", "cohen"), ("לוי", "levi")]),
    script(&[("प्रिया", "priya"), ("अर्जुन", "arjun"), ("দীপিকা", "dipika")], &[("शर्मा", "sharma"), ("সেন", "sen")]),
    script(&[("கவிதா", "kavitha"), ("முருகன்", "murugan")], &[("சுப்பிரமணியன்", "subramanian")]),
    script(&[("สมชาย", "somchai"), ("มาลี", "malee")], &[("ใจดี", "jaidee"), ("ศรีสุข", "srisuk")]),
    script(&[("თამარ", "tamar"), ("გიორგი", "giorgi"), ("Անահիտ", "anahit")], &[("ბერიძე", "beridze"), ("Սարգսյան", "sargsyan")]),
    script(&[("አበበ", "abebe"), ("ሰላም", "selam")], &[("በቀለ", "bekele")]),
    script(&[("Nguyễn", "nguyen"), ("Thảo", "thao")], &[("Trần", "tran"), ("Phạm", "pham")]),
    family_first(&[("伟", "wei"), ("秀英", "xiuying"), ("敏", "min")], &[("王", "wang"), ("李", "li"), ("歐陽", "ouyang")]),
    family_first(&[("さくら", "sakura"), ("健太", "kenta"), ("ユウキ", "yuki")], &[("佐藤", "sato"), ("𠮷田", "yoshida")]),
    family_first(&[("지우", "jiwoo"), ("민준", "minjun")], &[("김", "kim"), ("박", "park")]),
    // A combining accent (not the composed letter), a zero-width joiner sequence, and an emoji: all legal in a display name.
    script(&[("Jose\u{301}", "jose"), ("Robin 👩🏽‍💻", "robin")], &[("Garc\u{131}a", "garcia"), ("Nul\u{200d}l", "null")]),
];

pub(crate) const TEAMS: &[&str] = &[
    "Product",
    "Design System",
    "Engineering – Platform",
    "Security & Compliance",
    "Marketing EMEA",
    "Vertrieb DACH",
    "財務部",
    "Ресурсы",
    "Équipe Conseil",
    "People Ops",
    "Data / Analytics",
    "Customer Success",
    "Legal",
    "מחקר",
    "R&D <labs>",
];

pub(crate) const BOARD_SUBJECTS: &[&str] = &[
    "Q3 roadmap",
    "Sprint 42 retro",
    "Customer journey: checkout",
    "Architecture – event flow",
    "Incident 2231 timeline",
    "Brainstorm \"zero to one\"",
    "OKR 2026",
    "Kanban",
    "Budget (confidential)",
    "Merger scenarios",
    "Onboarding week 1",
    "Wireframes / mobile",
    "Persona workshop",
    "Threat model: payments",
    "設計レビュー",
    "Стратегия",
    "خريطة الطريق",
    "🚀 Launch plan",
    "Übersicht & Ziele",
    "Hiring plan",
    "Data residency <EU>",
    "Team picture 👨‍👩‍👧‍👦",
    "C:\\temp\\diagram",
];

pub(crate) const PROJECTS: &[&str] = &["Apollo", "Migration 2027", "Brand refresh", "内部監査", "Project Δ", "Vendor review"];
pub(crate) const TEMPLATES: &[&str] = &["Retrospective 4L", "Company canvas", "Service blueprint", "Stakeholder map", "Шаблон отчёта"];
pub(crate) const APPS: &[&str] = &["Jira Cards", "Data Importer Pro", "Slack", "Figma embed", "Mind-map exporter", "Azure DevOps"];
pub(crate) const BLUEPRINTS: &[&str] = &["New client kick-off", "Discovery phase", "Quarterly planning"];
