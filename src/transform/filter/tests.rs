use bytes::Bytes;

use super::*;
use crate::{
    config::expression::Expression,
    event::{EventId, OrgName, Origin, Position, Timestamp},
};

fn event(raw: &str) -> Event {
    let now = Timestamp::from_millis(1);
    Event {
        position: Position(1),
        id: EventId::new("1"),
        time: Some(now),
        collected_at: now,
        origin: Origin::Live,
        raw: Bytes::copy_from_slice(raw.as_bytes()),
    }
}

fn filter(settings: &FilterSettings, kind: StreamKind) -> Filter {
    Filter::new(settings, &StreamId::new(OrgName::new("acme"), kind))
}

fn owned(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
}

fn names(include: &[&str], exclude: &[&str]) -> FilterSettings {
    FilterSettings { include_events: owned(include), exclude_events: owned(exclude), ..FilterSettings::default() }
}

#[track_caller]
fn check(settings: &FilterSettings, kind: StreamKind, raw: &str, taken: bool) {
    let expected = if taken { Verdict::Taken } else { Verdict::LeftOut };
    assert_eq!(filter(settings, kind).judge(&event(raw)), expected, "{raw}");
}

#[test]
fn includes_and_excludes_decide_by_any_name() {
    let opened = r#"{"event":"board_opened"}"#;
    check(&names(&[], &[]), StreamKind::Audit, opened, true);
    check(&names(&["board_*"], &[]), StreamKind::Audit, opened, true);
    check(&names(&["sign_*"], &[]), StreamKind::Audit, opened, false);
    check(&names(&["board_*"], &["*_opened"]), StreamKind::Audit, opened, false);
    let deleted = r#"{"actionType":"delete","itemType":"widget","event":"board_opened"}"#;
    check(&names(&["delete"], &["board_*"]), StreamKind::Content, deleted, true);
    check(&names(&[], &["widget.*"]), StreamKind::Content, deleted, false);
    let (old, new) =
        (r#"{"logType":"request","aiFeatureName":"ai_generate"}"#, r#"{"eventType":"model_invocation","surface":"ai_generate"}"#);
    check(&names(&["request"], &[]), StreamKind::Ai, old, true);
    check(&names(&["request"], &[]), StreamKind::Ai, new, false);
    check(&names(&["ai_*"], &[]), StreamKind::Ai, new, true);
}

#[test]
fn an_escaped_name_is_the_same_name() {
    check(&names(&[], &["board_opened"]), StreamKind::Audit, r#"{"event":"board\u005fopened"}"#, false);
    let actors = FilterSettings { exclude_actors: owned(&["jo@example.com"]), ..FilterSettings::default() };
    check(&actors, StreamKind::Audit, r#"{"event":"x","created\u0042y":{"\u0065mail":"JO\u0040example.com"}}"#, false);
}

#[test]
fn what_has_no_readable_name_is_never_left_out() {
    let nothing = names(&["nothing"], &["*"]);
    for raw in ["null", "[]", "{}", r#"{"event":null}"#, r#"{"event":7}"#, r#"{"event":"a","event":"b"}"#, "{broken", ""] {
        check(&nothing, StreamKind::Audit, raw, true);
    }
    let (nothing, named) = (filter(&nothing, StreamKind::Audit), event(r#"{"event":"board_opened"}"#));
    assert_eq!(nothing.judge(&named), Verdict::LeftOut);
    assert_eq!(nothing.judge(&Event { time: None, ..named.clone() }), Verdict::Taken);
    assert_eq!(nothing.judge(&Event { id: EventId::new("undecodable-00"), ..named }), Verdict::Taken);
}

#[test]
fn categories_are_what_each_stream_has_of_them() {
    let settings = FilterSettings {
        include_categories: owned(&["boards", "widget", "ai_*"]),
        exclude_categories: owned(&["ai_x"]),
        ..FilterSettings::default()
    };
    check(&settings, StreamKind::Audit, r#"{"category":"boards"}"#, true);
    check(&settings, StreamKind::Audit, r#"{"category":"authentication"}"#, false);
    check(&settings, StreamKind::Audit, r#"{"event":"old"}"#, false);
    check(&settings, StreamKind::Audit, r#"{"category":null}"#, false);
    check(&settings, StreamKind::Audit, r#"{"category":["boards"]}"#, true);
    check(&settings, StreamKind::Audit, r#"{"category":"x","category":"y"}"#, true);
    check(&settings, StreamKind::Content, r#"{"itemType":"widget"}"#, true);
    check(&settings, StreamKind::Content, r#"{"itemType":"comment_thread"}"#, false);
    check(&settings, StreamKind::Ai, r#"{"aiFeatureName":"ai_generate"}"#, true);
    check(&settings, StreamKind::Ai, r#"{"surface":"ai_x"}"#, false);
}

#[test]
fn actors_are_known_by_id_and_by_address_in_any_case() {
    let settings = FilterSettings { exclude_actors: owned(&["*@Bots.example.com", "17"]), ..FilterSettings::default() };
    for (kind, member) in [(StreamKind::Audit, "createdBy"), (StreamKind::Content, "actor"), (StreamKind::Ai, "actor")] {
        check(&settings, kind, &format!(r#"{{"{member}":{{"id":"1","email":"a@bots.EXAMPLE.com"}}}}"#), false);
        check(&settings, kind, &format!(r#"{{"{member}":{{"id":17}}}}"#), false);
        check(&settings, kind, &format!(r#"{{"{member}":{{"id":"1","email":"a@example.com"}}}}"#), true);
        check(&settings, kind, &format!(r#"{{"{member}":null}}"#), true);
        check(&settings, kind, &format!(r#"{{"{member}":"17"}}"#), true);
        check(&settings, kind, &format!(r#"{{"{member}":{{"id":"17","id":"1"}}}}"#), true);
    }
    let only = FilterSettings { include_actors: owned(&["17"]), ..FilterSettings::default() };
    check(&only, StreamKind::Audit, r#"{"createdBy":null}"#, false);
    check(&only, StreamKind::Audit, r#"{"createdBy":{"id":{}}}"#, true);
}

#[test]
fn boards_are_known_by_the_name_of_the_event() {
    let settings = FilterSettings { include_boards: owned(&["uX1=", "Secret *"]), ..FilterSettings::default() };
    check(&settings, StreamKind::Audit, r#"{"event":"board_opened","object":{"id":"uX1=","name":"a"}}"#, true);
    check(&settings, StreamKind::Audit, r#"{"event":"file_downloaded","object":{"id":"uX2=","name":"Secret plan"}}"#, true);
    check(&settings, StreamKind::Audit, r#"{"event":"board_of_a_new_kind","object":{"id":"uX2="}}"#, false);
    check(&settings, StreamKind::Audit, r#"{"event":"sso_disabled","object":{"id":"uX1="}}"#, false);
    check(&settings, StreamKind::Audit, r#"{"object":{"id":"uX2="}}"#, true);
    check(&settings, StreamKind::Content, r#"{"actionType":"create","contentId":"uX1="}"#, true);
    check(&settings, StreamKind::Content, r#"{"actionType":"create","contentId":"uX2="}"#, false);
    check(&settings, StreamKind::Ai, r#"{"object":{"id":"uX1=","type":"board"}}"#, true);
    check(&settings, StreamKind::Ai, r#"{"object":{"id":"uX9=","name":"Secret plan"}}"#, true);
    check(&settings, StreamKind::Ai, r#"{"object":{"id":"uX1=","type":"organization"}}"#, false);
}

#[test]
fn teams_are_asked_for_where_there_are_any() {
    let settings = FilterSettings { exclude_teams: owned(&["Sales"]), ..FilterSettings::default() };
    check(&settings, StreamKind::Audit, r#"{"context":{"team":{"id":"1","name":"Sales"}}}"#, false);
    check(&settings, StreamKind::Audit, r#"{"context":{"team":{"id":"1","name":"sales"}}}"#, true);
    check(&settings, StreamKind::Audit, r#"{"context":{"team":null}}"#, true);
    let only = FilterSettings { include_teams: owned(&["Sales"]), ..FilterSettings::default() };
    check(&only, StreamKind::Audit, r#"{"context":{"team":null}}"#, false);
    check(&only, StreamKind::Audit, r#"{"context":[]}"#, true);
    check(&only, StreamKind::Audit, r#"{"event":"x","\ud800":1}"#, true);
    check(&only, StreamKind::Content, r#"{"actionType":"create"}"#, true);
    check(&only, StreamKind::Ai, r#"{"logType":"request"}"#, true);
}

#[test]
fn what_is_not_one_of_miros_logs_is_taken_always() {
    let nothing = FilterSettings { cel: Some(Expression::parse("false").expect("an expression")), ..names(&["nothing"], &["*"]) };
    check(&nothing, StreamKind::Licenses, r#"{"event":"x"}"#, true);
    let board = FilterSettings { include_teams: owned(&["x"]), cel: nothing.cel.clone(), ..names(&["board_*"], &["miro_siem.heart*"]) };
    check(&board, StreamKind::Forwarder, r#"{"event":"miro_siem.gap_opened"}"#, true);
    check(&board, StreamKind::Forwarder, r#"{"event":"miro_siem.heartbeat"}"#, false);
    check(&nothing, StreamKind::Audit, r#"{"event":"x"}"#, false);
}

#[track_caller]
fn ask(cel: &str, raw: &str, expected: Verdict) {
    let settings = FilterSettings { cel: Some(Expression::parse(cel).expect("an expression")), ..FilterSettings::default() };
    assert_eq!(filter(&settings, StreamKind::Audit).judge(&event(raw)), expected, "{cel} of {raw}");
}

#[test]
fn an_expression_decides_by_what_the_event_holds() {
    ask("event.event == 'x'", r#"{"event":"x"}"#, Verdict::Taken);
    ask("event.event == 'x'", r#"{"\u0065vent":"y"}"#, Verdict::LeftOut);
    ask("stream == 'audit' && org == 'acme' && !late && !backfill", "{}", Verdict::Taken);
    ask("event.n == 9007199254740993", r#"{"n":9007199254740993}"#, Verdict::Taken);
    ask("event.n == 9007199254740992", r#"{"n":9007199254740993}"#, Verdict::LeftOut);
    ask("event.n > 18446744073709551614u", r#"{"n":18446744073709551615}"#, Verdict::Taken);
    ask("event.list.exists(x, x.startsWith('b'))", r#"{"list":["a","bc"]}"#, Verdict::Taken);
    ask("event.a.b[1] == null", r#"{"a":{"b":[1,null]}}"#, Verdict::Taken);
    ask("has(event.details) && has(event.details.role)", r#"{"details":{}}"#, Verdict::LeftOut);
    ask("event.?details.?role.orValue('') == 'x'", r#"{"details":null}"#, Verdict::LeftOut);
    ask("event.event.matches('^board_(opened|created)$')", r#"{"event":"board_created"}"#, Verdict::Taken);
}

#[test]
fn an_event_on_which_the_expression_fails_is_taken_and_told() {
    ask("event.details.role == 'x'", "{}", Verdict::Unjudged(Unjudged::Missing));
    ask("event.list[3] == 'x'", r#"{"list":[1]}"#, Verdict::Unjudged(Unjudged::Missing));
    ask("event.event.startsWith('x')", r#"{"event":7}"#, Verdict::Unjudged(Unjudged::Type));
    ask("event.event", r#"{"event":"true"}"#, Verdict::Unjudged(Unjudged::Type));
    ask("1 / event.n == 1", r#"{"n":0}"#, Verdict::Unjudged(Unjudged::Computation));
    ask("event.event == 'x'", "[]", Verdict::Unjudged(Unjudged::Type));
    ask("event.event == 'x'", "{broken", Verdict::Unjudged(Unjudged::Unreadable));
    ask("has(event.a)", &format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)), Verdict::Unjudged(Unjudged::Unreadable));
    ask("has(event.a)", &format!("{{\"a\":\"{}\"}}", "x".repeat(300_000)), Verdict::Unjudged(Unjudged::TooLarge));
}

#[test]
fn the_deepest_expression_that_is_taken_can_be_evaluated_by_any_thread() {
    ask(&format!("event.n{} == 21", " + 1".repeat(20)), r#"{"n":1}"#, Verdict::Taken);
    ask(&format!("event{} == 1", ".a".repeat(20)), &format!("{}1{}", "{\"a\":".repeat(20), "}".repeat(20)), Verdict::Taken);
    ask(&format!("event.l.exists(x, x{} == 17)", " + 1".repeat(16)), r#"{"l":[1]}"#, Verdict::Taken);
    ask(&vec!["event.n == 1"; 250].join(" && "), r#"{"n":1}"#, Verdict::Taken);
}

/// The largest events that are looked at, against the dearest expressions that are allowed.
#[test]
fn an_expression_takes_bounded_time_on_any_event() {
    let list = format!("{{\"a\":[{}\"\"]}}", "\"\",".repeat(80_000));
    let started = std::time::Instant::now();
    ask("event.a.all(x, x == '') && event.a.filter(x, x != '').size() == 0 && event.a == event.a", &list, Verdict::Taken);
    ask("event.a.exists(x, x in ['b', 'c', 'd', 'e', 'f', 'g', 'h'])", &list, Verdict::LeftOut);
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}
