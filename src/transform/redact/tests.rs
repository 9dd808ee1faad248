use super::*;
use crate::{
    config::Secret,
    event::{EventId, Origin, Position, Timestamp},
};

const KEY: &str = "a key of more than 16 bytes";

fn pointers(texts: &[&str]) -> Vec<Pointer> {
    texts.iter().map(|text| Pointer::parse(text).expect("a pointer")).collect()
}

fn event(raw: &str) -> Event {
    Event {
        position: Position(1),
        id: EventId::new("e#1"),
        time: None,
        collected_at: Timestamp::from_millis(0),
        origin: Origin::Live,
        raw: Bytes::copy_from_slice(raw.as_bytes()),
    }
}

/// What the rules leave of an event of that stream.
fn left(rules: RedactRules, kind: StreamKind, raw: &str) -> String {
    let redaction = Redaction::of(&RedactSettings::Rules(rules)).expect("a usable key");
    let event = event(raw);
    let bytes = redaction.for_stream(kind).redact(&event).unwrap_or(event.raw);
    String::from_utf8(bytes.to_vec()).expect("what was text stays text")
}

#[track_caller]
fn check(rules: RedactRules, raw: &str, expected: &str) {
    assert_eq!(left(rules, StreamKind::Audit, raw), expected, "{raw}");
}

fn dropped(texts: &[&str]) -> RedactRules {
    RedactRules { drop: pointers(texts), ..RedactRules::default() }
}

fn masked(texts: &[&str]) -> RedactRules {
    RedactRules { mask: pointers(texts), ..RedactRules::default() }
}

fn hashed(texts: &[&str]) -> RedactRules {
    RedactRules { hash: pointers(texts), key: Some(Secret::literal(KEY)), ..RedactRules::default() }
}

#[test]
fn what_is_not_named_stays_byte_for_byte() {
    let raw = "{ \"big\":12345678901234567890.10 ,\n\"a\":1e2,\"a\" : {\"x\":\"\\u0041\\/\"},\"email\":\"jo\",\"z\":[1,  2]} ";
    check(masked(&["/email"]), raw, &raw.replace("\"jo\"", "\"[redacted]\""));
    check(masked(&["/nothing", "/a/nothing/here", "/z/7"]), raw, raw);
    check(dropped(&["/email"]), raw, &raw.replace(",\"email\":\"jo\"", ""));
}

#[test]
fn an_event_that_no_rule_changes_is_not_copied() {
    let redaction = Redaction::of(&RedactSettings::Rules(masked(&["/email"]))).expect("no key");
    assert_eq!(redaction.for_stream(StreamKind::Audit).redact(&event(r#"{"name":"jo"}"#)), None);
    assert_eq!(Redaction::default().for_stream(StreamKind::Audit).redact(&event("{broken")), None);
    assert_eq!(Redaction::none().for_stream(StreamKind::Ai).redact(&event(r#"{"details":"x"}"#)), None);
}

#[test]
fn events_of_our_own_are_not_touched() {
    let raw = r#"{"event":"miro_siem.gap_opened","object":{"name":"audit"}}"#;
    let rules = RedactRules { presets: RedactPreset::ALL.to_vec(), ..masked(&["/**/name"]) };
    assert_eq!(left(rules, StreamKind::Forwarder, raw), raw);
}

#[test]
fn dropped_members_take_their_commas_along() {
    for (rules, expected) in [
        (dropped(&["/a"]), r#"{ "b" : 2 , "c":3 }"#),
        (dropped(&["/b"]), r#"{ "a":1 , "c":3 }"#),
        (dropped(&["/c"]), r#"{ "a":1 , "b" : 2 }"#),
        (dropped(&["/a", "/b"]), r#"{ "c":3 }"#),
        (dropped(&["/b", "/c"]), r#"{ "a":1 }"#),
        (dropped(&["/a", "/c"]), r#"{ "b" : 2 }"#),
        (dropped(&["/*"]), "{  }"),
    ] {
        check(rules, r#"{ "a":1 , "b" : 2 , "c":3 }"#, expected);
    }
    check(dropped(&["/l/*"]), r#"{"l":[1,2,3]}"#, r#"{"l":[]}"#);
    check(dropped(&["/l/1"]), r#"{"l":[1,2,3]}"#, r#"{"l":[1,3]}"#);
    check(dropped(&["/l/0", "/l/2"]), r#"{"l":[1,2,3,4]}"#, r#"{"l":[2,4]}"#);
    check(dropped(&["/l/*/x"]), r#"{"l":[{"x":1},{"y":1,"x":2},3]}"#, r#"{"l":[{},{"y":1},3]}"#);
}

#[test]
fn a_name_is_the_same_name_however_it_is_spelled_or_doubled() {
    check(
        masked(&["/email"]),
        r#"{"\u0065mail":"a","email":"b","e\u006Dail":["c"]}"#,
        r#"{"\u0065mail":"[redacted]","email":"[redacted]","e\u006Dail":"[redacted]"}"#,
    );
    check(masked(&["/a~1b"]), r#"{"a\/b":"x","a~1b":"y"}"#, r#"{"a\/b":"[redacted]","a~1b":"y"}"#);
    check(masked(&["/🚀"]), r#"{"\ud83d\ude80":"x"}"#, r#"{"\ud83d\ude80":"[redacted]"}"#);
    check(masked(&["/"]), r#"{"":"x"}"#, r#"{"":"[redacted]"}"#);
    check(dropped(&["/email"]), r#"{"\ud800":1,"email":"b"}"#, r#"{"\ud800":1}"#);
}

#[test]
fn wildcards_reach_members_elements_and_any_depth() {
    check(
        masked(&["/a/*/b"]),
        r#"{"a":{"x":{"b":"1"},"b":"2","y":[{"b":"3"}]}}"#,
        r#"{"a":{"x":{"b":"[redacted]"},"b":"2","y":[{"b":"3"}]}}"#,
    );
    check(
        masked(&["/**/b"]),
        r#"{"b":"1","a":[{"b":"2"},[[{"b":{"b":"3"}}]]]}"#,
        r#"{"b":"[redacted]","a":[{"b":"[redacted]"},[[{"b":"[redacted]"}]]]}"#,
    );
    check(
        masked(&["/a/**/b/c"]),
        r#"{"b":{"c":"0"},"a":{"b":{"c":"1"},"x":{"b":{"c":"2","d":"3"}}}}"#,
        r#"{"b":{"c":"0"},"a":{"b":{"c":"[redacted]"},"x":{"b":{"c":"[redacted]","d":"3"}}}}"#,
    );
    check(masked(&["/l/1"]), r#"{"l":["a","b"]}"#, r#"{"l":["a","[redacted]"]}"#);
    check(masked(&["/l/1"]), r#"{"l":{"1":"b"}}"#, r#"{"l":{"1":"[redacted]"}}"#);
}

#[test]
fn an_event_keeps_its_id_whatever_a_wildcard_says() {
    check(masked(&["/*", "/**/id"]), r#"{"id":"1","a":{"id":"2"}}"#, r#"{"id":"1","a":"[redacted]"}"#);
    check(masked(&["/*"]), r#"{"id":{"x":"1"}}"#, r#"{"id":"[redacted]"}"#);
}

#[test]
fn a_text_that_holds_json_is_looked_into() {
    check(
        masked(&["/details/email"]),
        r#"{"details":"{\"email\":\"jo\",\"n\":1}"}"#,
        r#"{"details":"{\"email\":\"[redacted]\",\"n\":1}"}"#,
    );
    check(
        masked(&["/d/email"]),
        r#"{"d":" \u007b\"\u0065mail\":\"a\\\"b\",\"\\u00e9\":\"\u00e9\"}"}"#,
        r#"{"d":" \u007b\"\u0065mail\":\"[redacted]\",\"\\u00e9\":\"\u00e9\"}"}"#,
    );
    check(dropped(&["/d/a"]), r#"{"d":"{\"a\":1,\"b\":2}"}"#, r#"{"d":"{\"b\":2}"}"#);
    check(masked(&["/d/x/y"]), r#"{"d":{"x":"{\"y\":\"{\\\"z\\\":1}\"}"}}"#, r#"{"d":{"x":"{\"y\":\"[redacted]\"}"}}"#);
    check(masked(&["/d/x/y"]), r#"{"d":"{\"x\":\"{\\\"y\\\":\\\"z\\\"}\"}"}"#, r#"{"d":"{\"x\":\"{\\\"y\\\":\\\"[redacted]\\\"}\"}"}"#);
    check(masked(&["/d/x"]), r#"{"d":"\"{\\\"x\\\":\\\"y\\\"}\""}"#, r#"{"d":"\"{\\\"x\\\":\\\"[redacted]\\\"}\""}"#);
    check(masked(&["/d/*/x"]), r#"{"d":"[{\"x\":\"y\"}]"}"#, r#"{"d":"[{\"x\":\"[redacted]\"}]"}"#);
    check(masked(&["/d/x"]), r#"{"d":"{\"y\":1}"}"#, r#"{"d":"{\"y\":1}"}"#);
}

#[test]
fn a_text_that_begins_as_json_and_is_broken_is_taken_out_as_a_whole() {
    for text in
        [r#"{\"email\":\"jo@ex"#, r#"{\"email\":\"jo\"} and more"#, r#"[{\"email\":\"jo\"}"#, r#"{"#, r#"{ \n\"a\":1}\n{\"email\":\"jo\"}"#]
    {
        check(masked(&["/d/email"]), &format!(r#"{{"d":"{text}"}}"#), r#"{"d":"[redacted]"}"#);
    }
    for text in ["[Draft] plan", "{jo}", "plain", "\\\"quoted", "[]", "{}", "[1]", ""] {
        let raw = format!(r#"{{"d":"{text}"}}"#);
        check(masked(&["/d/email"]), &raw, &raw);
    }
}

#[test]
fn what_is_too_deep_to_look_into_is_taken_out() {
    let deep = |levels: usize| format!("{{\"a\":{}{{\"email\":\"jo\"}}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(!left(masked(&["/**/email"]), StreamKind::Audit, &deep(50)).contains("jo"));
    check(masked(&["/**/email"]), &deep(100_000), &format!("{{\"a\":{}\"[redacted]\"{}}}", "[".repeat(99), "]".repeat(99)));
    // Where no rule reaches, depth does not matter.
    check(masked(&["/email"]), &deep(100_000), &deep(100_000));
    let mut text = r#"{"email":"jo"}"#.to_owned();
    for _ in 0..6 {
        text = serde_json::json!({ "d": text }).to_string();
    }
    assert!(!left(masked(&["/**/email"]), StreamKind::Audit, &text).contains("jo"));
}

#[test]
fn the_stricter_of_what_is_written_counts_and_goes_before_the_presets() {
    let all = |text: &str| RedactRules { drop: pointers(&[text]), mask: pointers(&["/x", "/y"]), ..hashed(&["/x", "/y", "/z"]) };
    let result = left(all("/x"), StreamKind::Audit, r#"{"x":"1","y":"2","z":"3"}"#);
    assert!(result.starts_with(r#"{"y":"[redacted]","z":"hmac-"#), "{result}");
    let personal = RedactRules {
        presets: vec![RedactPreset::PersonalData],
        keep: pointers(&["/object/name", "/context"]),
        ..dropped(&["/createdBy/email"])
    };
    check(
        personal,
        r#"{"createdBy":{"id":"1","email":"a","name":"b"},"object":{"name":"c"},"context":{"ip":"d"}}"#,
        r#"{"createdBy":{"id":"1","name":"[redacted]"},"object":{"name":"c"},"context":{"ip":"d"}}"#,
    );
}

#[test]
fn null_stays_and_everything_else_is_masked_whatever_it_is() {
    check(
        masked(&["/*"]),
        r#"{"a":null,"b":true,"c":-1.5e3,"d":{"x":[]},"e":[1],"f":""}"#,
        r#"{"a":null,"b":"[redacted]","c":"[redacted]","d":"[redacted]","e":"[redacted]","f":"[redacted]"}"#,
    );
    check(dropped(&["/a"]), r#"{"a":null,"b":1}"#, r#"{"b":1}"#);
}

#[test]
fn a_pseudonym_depends_on_the_text_and_the_key_and_on_nothing_else() {
    // printf 'jo@example.com' | openssl dgst -sha256 -hmac 'a key of more than 16 bytes', the first 32 digits.
    let pseudonym = "hmac-9f57920f49dc04f073f2d1f94f17b89f";
    let result = left(hashed(&["/*"]), StreamKind::Audit, r#"{"a":"jo@example.com","b":"jo\u0040example.com","c":"Jo@example.com"}"#);
    assert!(
        result.starts_with(&format!(r#"{{"a":"{pseudonym}","b":"{pseudonym}","c":"hmac-"#)) && result.matches(pseudonym).count() == 2,
        "{result}"
    );
    let result = left(hashed(&["/*"]), StreamKind::Content, r#"{"a":17,"b":"17","d":"{\"x\":1}","e":null}"#);
    let value: serde_json::Value = serde_json::from_str(&result).expect("JSON");
    assert_eq!((&value["a"], &value["e"]), (&value["b"], &serde_json::Value::Null));
    let other = RedactRules { key: Some(Secret::literal("another key of 16 bytes")), ..hashed(&["/a"]) };
    assert_ne!(left(other, StreamKind::Audit, r#"{"a":"17"}"#), format!(r#"{{"a":{}}}"#, value["a"]));
}

#[test]
fn a_key_that_is_too_short_or_missing_is_refused_and_never_shown() {
    let with = |key: Secret| Redaction::of(&RedactSettings::Rules(RedactRules { key: Some(key), ..RedactRules::default() }));
    let error = with(Secret::literal("fifteen bytes !")).expect_err("too short").to_string();
    assert!(error.contains("has 15 bytes and needs at least 16") && !error.contains("fifteen"), "{error}");
    assert!(with(Secret::File("/nonexistent/key".into())).is_err());
    let redaction = with(Secret::literal(KEY)).expect("long enough");
    assert!(!format!("{redaction:?} {:?}", redaction.for_stream(StreamKind::Ai)).contains("more than 16"));
}

#[test]
fn a_record_that_is_no_object_leaves_as_a_stub_where_there_are_rules() {
    let stub = r#"{"id":"e#1","undecodable":true,"redacted":"the record is no JSON object"}"#;
    for raw in ["null", "[{\"email\":\"jo\"}]", "\"jo\"", "17", "{\"email\":\"jo\"", "", "{\"email\":\"jo\"} x", "\u{0}", "{'email':'jo'}"]
    {
        check(masked(&["/email"]), raw, stub);
        assert_eq!(left(RedactRules::default(), StreamKind::Ai, raw), stub);
        check(RedactRules::default(), raw, raw);
    }
    let redaction = Redaction::default();
    let bytes = Event { raw: Bytes::from_static(&[b'{', 0xff, b'}']), ..event("") };
    assert_eq!(redaction.for_stream(StreamKind::Ai).redact(&bytes).as_deref(), Some(stub.as_bytes()));
}

#[test]
fn prompts_of_both_generations_are_masked_unless_something_says_otherwise() {
    let old = r#"{"id":"1","createdAt":"c","storedAt":"s","sessionId":"i","messageId":"m","object":{"id":"b","type":"board"},"aiFeatureName":"f","actor":{"id":"2","email":"e","name":"n"},"logType":"request","details":{"text":"{\"text\":\"secret\"}"}}"#;
    check_ai(RedactRules::default(), old, &old.replace(r#""{\"text\":\"secret\"}""#, r#""[redacted]""#));
    let new = r#"{"id":"1","surface":"f","eventType":"model_invocation","session":{"id":"i","parentSessionId":null},"turnId":"t","object":{"id":"b","name":"Plan"},"model":{"name":"m","provider":"p","platform":"c","byoai":false},"tool":{"name":"x","type":"y"},"details":{"status":"success","modelCallId":"c","tokens":9007199254740993,"arguments":{"query":"secret"},"result":["secret"],"content":[{"type":"text","role":"user","text":"secret"}]}}"#;
    let expected = new
        .replace(r#"{"query":"secret"}"#, r#""[redacted]""#)
        .replace(r#"["secret"]"#, r#""[redacted]""#)
        .replace(r#""secret""#, r#""[redacted]""#);
    check_ai(RedactRules::default(), new, &expected);
    check_ai(RedactRules { ai_prompts: AiPrompts::Pass, ..RedactRules::default() }, new, new);
    check_ai(RedactRules { keep: pointers(&["/details"]), ..RedactRules::default() }, new, new);
    check_ai(dropped(&["/surface"]), r#"{"surface":"f","details":"secret"}"#, r#"{"details":"[redacted]"}"#);
}

#[track_caller]
fn check_ai(rules: RedactRules, raw: &str, expected: &str) {
    assert_eq!(left(rules, StreamKind::Ai, raw), expected, "{raw}");
}

#[test]
fn what_is_new_in_ai_logs_is_taken_for_a_prompt() {
    check_ai(
        RedactRules::default(),
        r#"{"id":"1","prompt":"secret","n":1,"x":{"secret":1},"y":["secret"]}"#,
        r#"{"id":"1","prompt":"[redacted]","n":1,"x":"[redacted]","y":"[redacted]"}"#,
    );
    check_ai(
        RedactRules::default(),
        r#"{"actor":{"name":{"secret":1}},"surface":["secret"],"details":"secret","tool":"secret"}"#,
        r#"{"actor":{"name":"[redacted]"},"surface":"[redacted]","details":"[redacted]","tool":"[redacted]"}"#,
    );
    check_ai(
        RedactRules::default(),
        r#"{"details":"{\"status\":\"ok\",\"text\":\"secret\"}"}"#,
        r#"{"details":"{\"status\":\"ok\",\"text\":\"[redacted]\"}"}"#,
    );
}

#[test]
fn content_text_takes_what_people_wrote_and_leaves_what_kind_of_thing_it_is() {
    let rules = || RedactRules { presets: vec![RedactPreset::ContentText], ..RedactRules::default() };
    let raw = r#"{"id":"1","actor":{"email":"e"},"state":{"type":"sticker","text":"<p>secret</p>","z":1000.0,"hidden":false,"resourceId":12345678901234567890,"style":{"fill":"x"},"snapshot":{"records":[{"secret":"x"}]}}}"#;
    let expected = r#"{"id":"1","actor":{"email":"e"},"state":{"type":"sticker","text":"[redacted]","z":1000.0,"hidden":false,"resourceId":12345678901234567890,"style":"[redacted]","snapshot":"[redacted]"}}"#;
    assert_eq!(left(rules(), StreamKind::Content, raw), expected);
    assert_eq!(left(rules(), StreamKind::Content, r#"{"state":"secret"}"#), r#"{"state":"[redacted]"}"#);
    assert_eq!(left(rules(), StreamKind::Content, r#"{"state":["secret",1]}"#), r#"{"state":["[redacted]",1]}"#);
    assert_eq!(left(rules(), StreamKind::Content, r#"{"state":null}"#), r#"{"state":null}"#);
    assert_eq!(left(rules(), StreamKind::Audit, raw), raw);
}

#[test]
fn personal_data_is_hashed_with_a_key_and_masked_without() {
    let raw = r#"{"createdBy":{"id":"1","email":"jo"},"details":{"user":{"email":"jo"},"role":"OWNER"}}"#;
    let rules = || RedactRules { presets: vec![RedactPreset::PersonalData], ..RedactRules::default() };
    check(rules(), raw, &raw.replace("\"jo\"", "\"[redacted]\""));
    let value: serde_json::Value =
        serde_json::from_str(&left(RedactRules { key: Some(Secret::literal(KEY)), ..rules() }, StreamKind::Audit, raw)).expect("JSON");
    assert_eq!(value["createdBy"]["email"], value["details"]["user"]["email"]);
    assert!(value["createdBy"]["email"].as_str().is_some_and(|text| text.starts_with("hmac-")));
    check(rules(), r#"{"details":"jo was here"}"#, r#"{"details":"[redacted]"}"#);
    check(rules(), r#"{"details":"{\"email\":\"jo\",\"role\":\"x\"}"}"#, r#"{"details":"{\"email\":\"[redacted]\",\"role\":\"x\"}"}"#);
    assert_eq!(left(rules(), StreamKind::Content, r#"{"actor":{"name":"jo"}}"#), r#"{"actor":{"name":"[redacted]"}}"#);
}

#[test]
fn every_pointer_of_a_preset_can_be_read() {
    for preset in RedactPreset::ALL {
        for kind in StreamKind::ALL {
            let closed = presets::closed(preset, kind);
            let kept = closed.as_ref().map_or(&[][..], |closed| closed.kept);
            let parts = closed.as_ref().map(|closed| closed.part).filter(|part| !part.is_empty());
            for text in presets::replaced(preset, kind).iter().chain(kept).copied().chain(parts).chain(presets::text_masked(preset, kind)) {
                assert!(presets::pointer(text).is_some(), "{text}");
            }
        }
    }
}
