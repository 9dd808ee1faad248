//! The reference page and the commented default configuration, made from the declarations of the keys.

use std::fmt::Write as _;

use super::{
    general::{ADMIN_KEYS, STATE_KEYS, TLS_KEYS},
    key::{Declared, Keys},
    org::{ORG_KEYS, STREAMS},
    sinks::{COMMON_KEYS, Connects, SinkType, TYPES},
    unsupported,
};
use crate::event::StreamKind;

const INTRODUCTION: &str = include_str!("reference.md");

/// docs/configuration.md
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    section(&mut page, "[state]", "", STATE_KEYS);
    section(&mut page, "[admin]", "", ADMIN_KEYS);
    section(&mut page, "[tls]", "For every outgoing connection; a sink can override it.", TLS_KEYS);
    section(&mut page, "[orgs.NAME]", "One Miro organisation, under a name of your choice.", ORG_KEYS);
    streams(&mut page);
    let types: Vec<String> = TYPES.iter().map(|kind| format!("`{}`", kind.name)).collect();
    let intro = format!(
        "One destination, under a name of your choice. A new one begins with what is collected from then on; one that is \
         renamed is a new one, and what it had yet to deliver under its old name is given up. These keys are those of any sink; its type adds more. Types: {}.",
        types.join(", ")
    );
    section(&mut page, "[sinks.NAME]", &intro, COMMON_KEYS);
    for kind in TYPES {
        section(&mut page, &format!("[sinks.NAME] of type {}", kind.name), kind.doc, kind.keys);
    }
    not_yet(&mut page);
    page
}

fn section(page: &mut String, title: &str, intro: &str, keys: Keys) {
    let _ = write!(page, "\n## {title}\n");
    if !intro.is_empty() {
        let _ = write!(page, "\n{intro}\n");
    }
    if !keys.is_empty() {
        page.push_str("\n| key | value | left out | meaning |\n|---|---|---|---|\n");
        keys.iter().for_each(|key| row(page, "", *key));
    }
}

fn row(page: &mut String, around: &str, key: &dyn Declared) {
    let name = format!("{around}{}", key.name());
    let otherwise = key.default().map_or_else(|| key.otherwise().to_owned(), |default| format!("`{default}`"));
    let _ = writeln!(page, "| `{name}` | {} | {} | {} |", cell(&key.meant()), cell(&otherwise), cell(key.doc()));
    key.sub_keys().iter().for_each(|sub| row(page, &format!("{name}."), *sub));
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn streams(page: &mut String) {
    let [(_, first_keys), rest @ ..] = STREAMS;
    section(
        page,
        "[orgs.NAME.audit]",
        "The audit log. A stream is on when its table is there; in a variable, `true` and `false` switch it.",
        first_keys,
    );
    for (kind, keys) in rest {
        let differs = |key: &&dyn Declared| !first_keys.iter().any(|first| describes_the_same(*first, *key));
        let _ = write!(page, "\n## [orgs.NAME.{kind}]\n\n{} The keys are those of `audit`, but for:\n\n", stream_doc(kind));
        page.push_str("| key | value | left out | meaning |\n|---|---|---|---|\n");
        keys.iter().copied().filter(differs).for_each(|key| row(page, "", key));
    }
}

fn describes_the_same(one: &dyn Declared, other: &dyn Declared) -> bool {
    one.name() == other.name() && one.meant() == other.meant() && one.default() == other.default()
}

fn stream_doc(kind: StreamKind) -> &'static str {
    match kind {
        StreamKind::Audit => "The audit log.",
        StreamKind::Content => "Content logs: what was changed on boards.",
        StreamKind::Ai => "AI interaction logs.",
        StreamKind::Licenses => "Snapshots of licences and seats.",
        StreamKind::Forwarder => "Events of miro-siem's own.",
    }
}

fn not_yet(page: &mut String) {
    let quoted = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let _ = write!(
        page,
        "\n## Not supported yet\n\nThese are refused by name, so that nothing is taken and then not done: the sink types {}; \
         the stream {}; the sink keys {}.\n",
        quoted(unsupported::SINK_TYPES),
        quoted(unsupported::STREAMS),
        quoted(unsupported::SINK_KEYS),
    );
}

const TOML_INTRODUCTION: &str = "\
# The configuration of miro-siem with every key. A line that begins with `#` and a letter or a bracket is a key with its default,
# or with an example where it has none; lines like this one explain. docs/configuration.md says more.
#
# As it stands, it collects the audit log of one organisation and writes it to standard output.
";

/// config/default.toml
pub fn default_toml() -> String {
    let mut toml = TOML_INTRODUCTION.to_owned();
    toml_section(&mut toml, "", "[state]", STATE_KEYS, &[]);
    toml_section(&mut toml, "", "[admin]", ADMIN_KEYS, &[]);
    toml_section(&mut toml, "For every outgoing connection; a sink can override it.", "[tls]", TLS_KEYS, &[]);
    toml_section(&mut toml, "One Miro organisation, under a name of your choice.", "[orgs.acme]", ORG_KEYS, &["token"]);
    toml_streams(&mut toml);
    TYPES.iter().for_each(|kind| toml_sink(&mut toml, kind));
    toml
}

fn toml_streams(toml: &mut String) {
    let [(kind, first_keys), rest @ ..] = STREAMS;
    let intro = format!("{} A stream is on when its table is there.", stream_doc(kind));
    toml_section(toml, &intro, &format!("[orgs.acme.{kind}]"), first_keys, &[]);
    for (kind, keys) in rest {
        let intro = format!("{} Its other keys are those of the audit log.", stream_doc(kind));
        toml_section(toml, &intro, &format!("#[orgs.acme.{kind}]"), &[], &[]);
        for key in keys.iter().filter(|key| key.name() == "token" || !first_keys.iter().any(|first| describes_the_same(*first, **key))) {
            toml_key(toml, *key, "#");
        }
    }
}

fn toml_sink(toml: &mut String, kind: &SinkType) {
    let is_first = kind.name == TYPES[0].name;
    let active = if is_first { "" } else { "#" };
    toml_section(toml, kind.doc, &format!("{active}[sinks.{}]\n{active}type = {:?}", kind.name, kind.name), kind.keys, &[]);
    // The common keys are explained once, and `tls` where there is a connection.
    let common = COMMON_KEYS.iter().filter(|key| match key.name() {
        "type" => false,
        "tls" => kind.connects == Connects::Yes,
        _ => is_first,
    });
    common.for_each(|key| toml_key(toml, *key, "#"));
}

fn toml_section(toml: &mut String, intro: &str, title: &str, keys: Keys, active: &[&str]) {
    toml.push('\n');
    if !intro.is_empty() {
        toml_prose(toml, intro);
    }
    let _ = writeln!(toml, "{title}");
    keys.iter().for_each(|key| toml_key(toml, *key, if active.contains(&key.name()) { "" } else { "#" }));
}

fn toml_key(toml: &mut String, key: &dyn Declared, comment: &str) {
    let otherwise = match key.otherwise() {
        "" | "required" => String::new(),
        otherwise => format!(" Left out: {otherwise}."),
    };
    toml_prose(toml, &format!("{}{otherwise}", key.doc()));
    let _ = writeln!(toml, "{comment}{} = {}", key.name(), key.example());
}

const COLUMNS: usize = 120;

/// A comment of whole words, within the width of a line.
fn toml_prose(toml: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + word.len() + 1 > COLUMNS {
            let _ = writeln!(toml, "{line}");
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(toml, "{line}");
}
