use proptest::prelude::*;

use super::*;

fn decode(body: &str) -> Result<Decoding, ShapeFault> {
    page(&Bytes::copy_from_slice(body.as_bytes()), "createdAt")
}

/// The only record of a page that holds just this one.
#[track_caller]
fn only(record: &str) -> RawEvent {
    let decoding = decode(&format!(r#"{{"data":[{record}]}}"#)).expect("a page");
    let [event] = &decoding.events[..] else { panic!("one record: {record}") };
    assert_eq!(event.raw, record.as_bytes(), "the record's bytes");
    event.clone()
}

#[track_caller]
fn check_head(record: &str, id: Option<&str>, time: Option<i64>) {
    let event = only(record);
    let expected = id.map_or_else(|| undecodable_id(record.as_bytes()), |id| EventId::new(id.to_owned()));
    assert_eq!(event.id, expected, "{record}");
    assert_eq!(event.time.map(Timestamp::as_micros), time, "{record}");
    let whole = id.is_some() && time.is_some();
    assert_eq!(event.decoded == Decoded::Whole, whole, "{record}");
}

#[test]
fn id_and_time_are_read_whatever_else_is_in_a_record() {
    let time = Some(1_500_000);
    check_head(r#"{"id":"a#1","createdAt":"1970-01-01T00:00:01.500Z"}"#, Some("a#1"), time);
    check_head(r#"{ "createdAt" : "1970-01-01T00:00:01.500+0000" , "x":{"id":"no"}, "id" : "b" }"#, Some("b"), time);
    check_head(r#"{"id":3074457345821141000,"createdAt":"1970-01-01T00:00:01.5Z"}"#, Some("3074457345821141000"), time);
    check_head(r#"{"id":-1.50e7,"createdAt":"1970-01-01T00:00:01.5Z"}"#, Some("-1.50e7"), time);
    check_head(r#"{"i\u0064":"\u0061\n","created\u0041t":"1970-01-01T00:00:01.500\u005a"}"#, Some("a\n"), time);
    check_head(r#"{"id":"🦀","createdAt":"1970-01-01T00:00:01.5Z","\ud800":"\udfff"}"#, Some("🦀"), time);
    check_head(r#"{"id":"a","createdAt":"1970-01-01T00:00:01.5Z","n":123456789012345678901234567890e999}"#, Some("a"), time);
}

#[test]
fn a_record_without_readable_id_or_time_is_kept_and_marked() {
    let time = Some(1_000_000);
    check_head(r#"{"createdAt":"1970-01-01T00:00:01Z"}"#, None, time);
    for id in ["null", "true", r#""""#, r#"" ""#, r#""\t""#, "{}", "[1]", r#""\ud800""#] {
        check_head(&format!(r#"{{"id":{id},"createdAt":"1970-01-01T00:00:01Z"}}"#), None, time);
    }
    check_head(r#"{"id":"a"}"#, Some("a"), None);
    for odd in ["null", "0", "1693560610840", r#""""#, r#""yesterday""#, r#"{"at":1}"#] {
        check_head(&format!(r#"{{"id":"a","createdAt":{odd}}}"#), Some("a"), None);
    }
    for record in ["null", "17", "true", r#""text""#, "[]", r#"[{"id":"a"}]"#, "{}"] {
        check_head(record, None, None);
    }
}

#[test]
fn of_a_key_that_stands_twice_in_a_record_the_last_one_counts() {
    check_head(r#"{"id":"a","createdAt":"1970-01-01T00:00:01Z","id":"b","createdAt":"1970-01-01T00:00:02Z"}"#, Some("b"), Some(2_000_000));
    check_head(r#"{"id":"a","createdAt":"1970-01-01T00:00:01Z","id":null}"#, None, Some(1_000_000));
}

#[test]
fn an_id_without_escapes_shares_the_body() {
    let body = Bytes::from_static(br#"{"data":[{"id":"a#1"}]}"#);
    let decoding = page(&body, "createdAt").expect("a page");
    assert!(body.as_ptr_range().contains(&decoding.events[0].id.as_bytes().as_ptr()));
}

#[track_caller]
fn check_cursor(cursor: &str, data: &str, expected: Option<&str>) {
    let decoding = decode(&format!(r#"{{{cursor}"data":[{data}]}}"#)).expect("a page");
    assert_eq!(decoding.next, expected.map(Cursor::new), "{cursor} {data}");
}

#[test]
fn no_cursor_in_any_of_its_forms_is_the_last_page() {
    check_cursor(r#""cursor":"a#1=+","#, "1", Some("a#1=+"));
    check_cursor(r#""cursor":"\u0023","#, "1", Some("#"));
    check_cursor("", "1", None);
    check_cursor(r#""cursor":null,"#, "1", None);
    check_cursor(r#""cursor":"","#, "1", None);
    // Whether a cursor of an empty page leads anywhere is for the walk to find out.
    check_cursor(r#""cursor":"a","#, "", Some("a"));
}

#[track_caller]
fn check_fault(body: &str, expected: ShapeFault) {
    assert_eq!(decode(body).expect_err("no page"), expected, "{body}");
}

#[test]
fn what_is_no_page_is_an_error_and_never_an_empty_page() {
    check_fault("", ShapeFault::Empty);
    check_fault(" \r\n", ShapeFault::Empty);
    check_fault("<html></html>", ShapeFault::Malformed { line: 1, column: 1 });
    check_fault(r#"{"data":[]} x"#, ShapeFault::Malformed { line: 1, column: 13 });
    check_fault(r#"{"data":[{"id":"a"},{"id":"#, ShapeFault::Truncated { bytes: 26 });
    check_fault("[]", ShapeFault::NotAnObject);
    check_fault("null", ShapeFault::NotAnObject);
    check_fault("{}", ShapeFault::NoData);
    check_fault(r#"{"content":[]}"#, ShapeFault::NoData);
    check_fault(r#"{"data":null}"#, ShapeFault::DataNotAList);
    check_fault(r#"{"data":{"id":"a"}}"#, ShapeFault::DataNotAList);
    check_fault(r#"{"data":"[]"}"#, ShapeFault::DataNotAList);
    check_fault(r#"{"data":[],"cursor":1}"#, ShapeFault::CursorNotText);
    check_fault(r#"{"data":[1],"data":[2]}"#, ShapeFault::Repeated("data"));
    check_fault(r#"{"cursor":"a","data":[1],"cursor":"b"}"#, ShapeFault::Repeated("cursor"));
}

#[test]
fn bytes_that_are_not_utf8_are_no_page() {
    let body = Bytes::from_static(b"{\"data\":[{\"id\":\"\xff\"}]}");
    assert!(matches!(page(&body, "createdAt"), Err(ShapeFault::Malformed { .. })));
}

#[test]
fn nesting_has_no_limit_that_would_lose_a_record() {
    let deep = format!(r#"{{"id":"a","x":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    check_head(&deep, Some("a"), None);
}

/// White space as JSON allows it.
fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// A JSON string as somebody might write it, with its meaning.
fn text() -> impl Strategy<Value = (String, String)> {
    let character = (any::<char>(), 0..3_u8).prop_map(|(c, style)| {
        let plain = !c.is_control() && c != '"' && c != '\\';
        let written = match style {
            0 if plain => c.to_string(),
            1 if c == '/' => r"\/".to_owned(),
            _ => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect(),
        };
        (written, c)
    });
    prop::collection::vec(character, 0..12).prop_map(|characters| {
        let (written, meant): (Vec<String>, String) = characters.into_iter().unzip();
        (format!("\"{}\"", written.concat()), meant)
    })
}

/// Any JSON value, oddly spelled.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?",
        text().prop_map(|(written, _)| written),
        Just(r#""\ud800""#.to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![3 => text().prop_map(|(written, _)| written), 1 => Just(r#""id""#.to_owned()), 1 => Just(r#""createdAt""#.to_owned())];
        let member = (space(), key, space(), space(), inner.clone(), space());
        prop_oneof![
            prop::collection::vec((space(), inner, space()), 0..4).prop_map(|items| {
                let items: Vec<_> = items.into_iter().map(|(before, item, after)| format!("{before}{item}{after}")).collect();
                format!("[{}]", items.join(","))
            }),
            prop::collection::vec(member, 0..4).prop_map(|members| {
                let members: Vec<_> =
                    members.into_iter().map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// A record with an id and a time among odd neighbours, and its id.
fn record() -> impl Strategy<Value = (String, String)> {
    let id = text().prop_filter("an id that is not blank", |(_, meant)| !meant.trim().is_empty());
    (id, prop::collection::vec(value(), 0..4), space(), any::<prop::sample::Index>()).prop_map(|((written, id), others, gap, at)| {
        let mut members: Vec<_> = others.iter().enumerate().map(|(index, value)| format!(r#""k{index}":{gap}{value}"#)).collect();
        members.insert(at.index(members.len() + 1), format!(r#""id"{gap}:{written}"#));
        members.insert(at.index(members.len() + 1), format!(r#"{gap}"createdAt":"2023-09-01T09:30:10.840+0000""#));
        (format!("{{{}}}", members.join(&format!("{gap},"))), id)
    })
}

proptest! {
    #[test]
    fn every_record_of_a_page_comes_back_byte_for_byte(records in prop::collection::vec(prop_oneof![value(), record().prop_map(|r| r.0)], 0..8), gap in space()) {
        let body = format!(r#"{{"size":0,{gap}"data"{gap}:{gap}[{gap}{}{gap}],"limit":1}}{gap}"#, records.join(&format!("{gap},{gap}")));
        let decoding = decode(&body).expect("a page");
        let raws: Vec<_> = decoding.events.iter().map(|event| String::from_utf8_lossy(&event.raw).into_owned()).collect();
        prop_assert_eq!(raws, records);
    }

    #[test]
    fn an_id_is_read_wherever_it_stands_and_however_it_is_spelled((record, id) in record()) {
        let event = only(&record);
        prop_assert_eq!(event.id.as_str(), id);
        prop_assert_eq!(event.time, Some(Timestamp::from_millis(1_693_560_610_840)));
        prop_assert_eq!(event.decoded, Decoded::Whole);
    }

    #[test]
    fn a_head_is_what_serde_json_reads(record in value()) {
        let event = only(&record);
        // serde_json refuses halves of surrogate pairs and numbers past f64 anywhere in the record; we do so only in the head.
        let Ok(whole) = serde_json::from_str::<serde_json::Value>(&record) else { return Ok(()) };
        prop_assume!(!whole.get("id").is_some_and(serde_json::Value::is_number));
        let id = whole.get("id").and_then(serde_json::Value::as_str).filter(|id| !id.trim().is_empty());
        let expected = id.map_or_else(|| undecodable_id(record.as_bytes()), |id| EventId::new(id.to_owned()));
        prop_assert_eq!(event.id, expected);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_invent_records(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(bytes);
        if let Ok(decoding) = page(&body, "createdAt") {
            prop_assert!(decoding.events.iter().map(|event| event.raw.len()).sum::<usize>() <= body.len());
        }
    }

    #[test]
    fn a_page_that_is_cut_anywhere_is_no_page(records in prop::collection::vec(record().prop_map(|r| r.0), 1..4), at in any::<prop::sample::Index>()) {
        let body = format!(r#"{{"data":[{}]}}"#, records.join(","));
        let cut = at.index(body.len());
        let kept = Bytes::copy_from_slice(&body.as_bytes()[..cut]);
        prop_assert!(page(&kept, "createdAt").is_err());
    }
}
