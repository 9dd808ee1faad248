//! `filter` and `redact` as an operator writes them.

use miro_siem::config::settings::{AiPrompts, RedactPreset, RedactRules, RedactSettings};

use super::{ORG, check_sink, env, load_text, loaded};

fn sink(toml: &str) -> miro_siem::config::settings::SinkSettings {
    loaded(&format!("{ORG}[sinks.s]\ntype = 'stdout'\n{toml}\n")).settings.sinks.remove(0)
}

fn redact(toml: &str) -> RedactRules {
    match sink(toml).redact {
        RedactSettings::Rules(rules) => rules,
        RedactSettings::None => panic!("{toml} redacts nothing"),
    }
}

#[track_caller]
fn check(toml: &str, expected: &[&str]) {
    check_sink(&format!("type = 'stdout'\n{toml}"), expected);
}

#[test]
fn every_list_of_a_filter_is_read() {
    let filter = sink(
        "[sinks.s.filter]\ninclude_events = ['a']\nexclude_events = ['b']\ninclude_categories = ['c']\nexclude_categories = ['d']\n\
         include_actors = ['e@x', 'f']\nexclude_actors = ['g h']\ninclude_boards = ['i']\nexclude_boards = ['j']\n\
         include_teams = ['k']\nexclude_teams = ['l']\ncel = 'late'",
    )
    .filter;
    for (list, expected) in [
        (&filter.include_events, vec!["a"]),
        (&filter.exclude_events, vec!["b"]),
        (&filter.include_categories, vec!["c"]),
        (&filter.exclude_categories, vec!["d"]),
        (&filter.include_actors, vec!["e@x", "f"]),
        (&filter.exclude_actors, vec!["g h"]),
        (&filter.include_boards, vec!["i"]),
        (&filter.exclude_boards, vec!["j"]),
        (&filter.include_teams, vec!["k"]),
        (&filter.exclude_teams, vec!["l"]),
    ] {
        assert_eq!(*list, expected);
    }
    assert_eq!(filter.cel.map(|cel| format!("{cel:?}")).as_deref(), Some("Expression(\"late\")"));
}

#[test]
fn what_is_wrong_in_a_filter_is_told_with_its_place() {
    check("filter = { exclude_event = ['x'] }", &["sinks.s.filter.exclude_event: unknown key; did you mean \"exclude_events\"?"]);
    check(
        "filter = { actors = ['x'] }",
        &["sinks.s.filter.actors: unknown key; include_actors and exclude_actors are meant, or one of them"],
    );
    check(
        "filter = { include_boards = [''], exclude_teams = [7] }",
        &[
            "sinks.s.filter.include_boards[0]: needs an id, a name or an address, with `*` and `?` where it may differ; found an empty text",
            "sinks.s.filter.exclude_teams[0]: needs an id, a name or an address, with `*` and `?` where it may differ; found a whole number",
        ],
    );
    let meant = "sinks.s.filter.cel: needs an expression in CEL over event, stream, org, late and backfill that is true or false";
    let with = |found: &str, why: &str| format!("{meant}; found {found}: {why}");
    check("filter.cel = 'evnt.a'", &[&with("\"evnt.a\"", "line 1, column 1: unknown variable \"evnt\"; did you mean \"event\"?")]);
    check("filter.cel = 'stream'", &[&with("\"stream\"", "line 1, column 1: has to be true or false, and is a text")]);
    check("filter.cel = true", &[&format!("{meant}; found true")]);
}

#[test]
fn without_a_word_prompts_are_masked_and_with_none_nothing_is() {
    let rules = redact("");
    assert!(rules.presets.is_empty() && rules.drop.is_empty() && rules.mask.is_empty() && rules.hash.is_empty() && rules.key.is_none());
    assert_eq!(rules.ai_prompts, AiPrompts::Mask);
    assert_eq!(redact("redact = {}").ai_prompts, AiPrompts::Mask);
    assert_eq!(redact("redact = { drop = ['/a'] }").ai_prompts, AiPrompts::Mask);
    assert_eq!(redact("redact = { ai_prompts = 'pass' }").ai_prompts, AiPrompts::Pass);
    assert!(matches!(sink("redact = 'none'").redact, RedactSettings::None));
}

#[test]
fn every_key_of_redact_is_read() {
    let rules = redact(
        "[sinks.s.redact]\npresets = ['personal_data', 'content_text']\ndrop = ['/a/*']\nmask = ['/b']\nhash = ['/**/c']\n\
         keep = ['/d~1e']\nkey = 'sixteen-bytes-is-the-least'",
    );
    assert_eq!(rules.presets, [RedactPreset::PersonalData, RedactPreset::ContentText]);
    for (pointers, expected) in [(&rules.drop, "/a/*"), (&rules.mask, "/b"), (&rules.hash, "/**/c"), (&rules.keep, "/d~1e")] {
        assert_eq!(pointers.iter().map(|pointer| pointer.as_str()).collect::<Vec<_>>(), [expected]);
    }
    assert!(rules.key.is_some());
}

#[test]
fn what_is_wrong_in_redact_is_told_with_its_place() {
    check("redact = 'all'", &["sinks.s.redact: needs a table of what is taken out, or \"none\"; found a text"]);
    check("redact = ['x']", &["sinks.s.redact: needs a table of what is taken out, or \"none\"; found a list"]);
    check("redact = { masks = ['/a'] }", &["sinks.s.redact.masks: unknown key; did you mean \"mask\"?"]);
    check(
        "redact = { presets = ['everything'] }",
        &["sinks.s.redact.presets[0]: needs \"content_text\", \"ai_prompts\" or \"personal_data\"; found \"everything\""],
    );
    check(
        "redact = { drop = ['a'] }",
        &[
            "sinks.s.redact.drop[0]: needs a JSON pointer such as \"/createdBy/email\", with `*` for any member or element and `**` for any \
           depth; found \"a\": it begins with `/`",
        ],
    );
    check(
        "redact = { hash = ['/a'] }",
        &["sinks.s.redact.hash: needs `key`: without one, whoever knows a name or an address can find out its pseudonym"],
    );
    check(
        "redact = { mask = ['/id'] }",
        &["sinks.s.redact.mask: holds \"/id\"; an event keeps its id, because receivers drop repeats by it"],
    );
    check(
        "redact = { presets = ['ai_prompts'], ai_prompts = 'pass' }",
        &["sinks.s.redact.ai_prompts: says pass, and `presets` has ai_prompts; one of the two is meant"],
    );
}

#[test]
fn a_variable_can_say_none() {
    let toml = format!("{ORG}[sinks.s]\ntype = 'stdout'\nredact = {{ drop = ['/a'] }}\n");
    let loaded = load_text(std::path::Path::new("config.toml"), &toml, &env(&[("MIRO_SIEM__SINKS__S__REDACT", "none")]));
    let sink = loaded.map(|mut loaded| loaded.settings.sinks.remove(0)).expect("a sound configuration");
    assert!(matches!(sink.redact, RedactSettings::None));
}

#[test]
fn a_key_that_is_too_short_is_found_by_check_and_not_shown() {
    let toml = format!("{ORG}[sinks.s]\ntype = 'stdout'\nredact = {{ key = 'short-key' }}\n");
    let findings = miro_siem::config::verify(&loaded(&toml));
    let told: Vec<String> = findings.problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect();
    assert_eq!(told, ["sinks.s.redact.key: needs at least 16 bytes; make one with `openssl rand -hex 32`"]);
}
