//! Rules that hold whatever bytes an event has.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn hostile(raw: Vec<u8>, id: &str, millis: Option<i64>) -> Event {
    Event {
        position: Position(1),
        id: EventId::new(id),
        time: millis.map(Timestamp::from_millis),
        collected_at: Timestamp::from_millis(0),
        origin: Origin::Late,
        raw: Bytes::from(raw),
    }
}

/// JSON of the shapes that the formats look into, with anything in their places.
fn json() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "id",
        "event",
        "createdBy",
        "createdAt",
        "object",
        "context",
        "details",
        "actor",
        "name",
        "email",
        "type",
        "ip",
        "team",
        "actionType",
        "organization",
        "itemId",
        "itemType",
        "contentId",
        "userId",
        "authType",
        "storedAt",
        "session",
        "unmapped",
        "",
        "_miro_siem",
    ]);
    let words = prop::sample::select(vec![
        "board_opened",
        "sign_in_succeeded",
        "sign_in_failed",
        "user_deleted",
        "team_created",
        "team_admin_granted",
        "app_installed",
        "sso_enabled",
        "team_member_invited",
        "access_request_created",
        "create",
        "192.0.2.1",
        "::1",
        "a@b.c",
        "@",
        "1",
        "2026-01-31T00:00:00Z",
    ]);
    let leaf = prop_oneof![
        words.prop_map(|word| format!("\"{word}\"")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).expect("text")),
        Just("null".to_owned()),
        Just("1e999".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    leaf.prop_recursive(4, 48, 10, move |inner| {
        let member = (names.clone(), inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop_oneof![
            3 => prop::collection::vec(member, 0..10).prop_map(|members| format!("{{{}}}", members.join(","))),
            1 => prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
        ]
    })
}

fn kinds() -> impl Strategy<Value = StreamKind> {
    prop::sample::select(StreamKind::ALL.to_vec())
}

fn is_json(record: &str) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(record).is_ok()
}

/// The members of an object, as the standard says: without looking into what is deep or no number of ours.
fn member<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    let members: BTreeMap<String, &'a serde_json::value::RawValue> = serde_json::from_str(record).ok()?;
    members.get(name).map(|value| value.get())
}

fn check(kind: StreamKind, event: &Event) {
    for (format, _) in FORMATS {
        let (record, transformed) = write(format, kind, event);
        assert_eq!(write(format, kind, event), (record.clone(), transformed), "the same event gives the same record");
        match format {
            Format::Ocsf => {
                let number = |name: &str| member(&record, name).and_then(|value| value.parse::<u64>().ok()).expect("a number");
                assert!(is_json(&record));
                assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
                assert_eq!(number("category_uid"), number("class_uid") / 1_000);
                assert_eq!(number("class_uid") == 0, transformed == Mapped::Unknown);
            }
            Format::Cef => assert!(record.starts_with("CEF:0|Miro|Miro|1.0|") && !record.contains(char::is_control), "{record:?}"),
            Format::Leef => {
                assert!(record.starts_with("LEEF:2.0|Miro|Miro|1.0|"), "{record:?}");
                assert!(!record.replace('\t', "").contains(char::is_control), "{record:?}");
                assert!(record.split('\t').skip(1).all(|pair| pair.contains('=')), "{record:?}");
            }
            _ => assert!(is_json(&record), "{record}"),
        }
        let smaller = Formatter::new(format, Provenance::On, &stream(kind)).write_smaller(event, 1_000);
        assert!(smaller.is_none_or(|record| record.len() <= 1_000));
    }
}

proptest! {
    #[test]
    fn any_json_becomes_a_record_whose_numbers_agree(kind in kinds(), raw in json(), id in ".{0,40}", millis in any::<Option<i64>>()) {
        check(kind, &hostile(raw.into_bytes(), &id, millis));
    }

    #[test]
    fn any_bytes_become_a_record(kind in kinds(), raw in prop::collection::vec(any::<u8>(), 0..200)) {
        check(kind, &hostile(raw, "1", None));
    }
}

#[test]
fn depth_and_width_without_end_do_no_harm() {
    let deep = format!("{}{}", "{\"object\":".repeat(100_000), "1");
    let closed = format!("{{\"event\":\"board_opened\",\"details\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!("{{{}\"event\":\"x\"}}", (0..100_000).map(|number| format!("\"m{number}\":1,")).collect::<String>());
    for raw in [deep, closed, wide] {
        check(StreamKind::Audit, &hostile(raw.into_bytes(), "1", None));
    }
}

#[test]
fn bytes_that_are_no_text_survive_as_hexadecimal_digits() {
    let event = hostile(vec![0xff, 0x00], "1", None);
    let ocsf: Value = serde_json::from_str(&write(Format::Ocsf, StreamKind::Audit, &event).0).expect("JSON");
    let ecs: Value = serde_json::from_str(&write(Format::Ecs, StreamKind::Audit, &event).0).expect("JSON");
    assert_eq!((&ocsf["unmapped"]["raw_hex"], &ecs["miro"]["raw_hex"]), (&"ff00".into(), &"ff00".into()));
}
