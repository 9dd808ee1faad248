use std::io::Read as _;

use super::*;
use crate::event::{Event, EventId, OrgName, Origin, Position, StreamId, StreamKind, Timestamp};

fn check_retry_after(value: &str, expected_secs: Option<u64>) {
    let now = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
    assert_eq!(parse_retry_after(value, now), expected_secs.map(Duration::from_secs), "{value:?}");
}

#[test]
fn retry_after_is_read_in_both_forms_and_capped_at_an_hour() {
    check_retry_after("0", Some(0));
    check_retry_after(" 120 ", Some(120));
    check_retry_after("3600", Some(3600));
    check_retry_after("3601", Some(3600));
    check_retry_after("99999999999999999999999999", Some(3600));
    check_retry_after("Sun, 06 Nov 1994 08:50:07 GMT", Some(30));
    check_retry_after("Sunday, 06-Nov-94 08:50:07 GMT", Some(30));
    check_retry_after("Sun Nov  6 08:50:07 1994", Some(30));
    check_retry_after("Sun, 06 Nov 1994 08:49:36 GMT", Some(0));
    check_retry_after("Sun, 06 Nov 2094 08:49:37 GMT", Some(3600));
    check_retry_after("", None);
    check_retry_after("-1", None);
    check_retry_after("1.5", None);
    check_retry_after("soon", None);
    check_retry_after("Sun, 31 Feb 1994 08:49:37 GMT", None);
}

fn excerpt_of(text: &str, event: &str) -> String {
    let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
    let event = Event {
        position: Position(1),
        id: EventId::new("a"),
        time: None,
        collected_at: Timestamp::from_millis(0),
        origin: Origin::Live,
        raw: event.to_owned().into_bytes().into(),
    };
    let (ends, payloads) = ([event.raw.len()], event.raw.clone());
    let batch = Batch::new(&stream, std::slice::from_ref(&event), &payloads, &ends);
    excerpt(text, &[&SecretString::from("hush-hush")], Some(&batch))
}

#[test]
fn an_excerpt_is_one_short_line_without_secrets_and_ends_where_an_event_begins() {
    let event = r#"{"id":"a","email":"ada@example.com","name":"O'Hara \"Zed\""}"#;
    let check = |text: &str, expected: &str| assert_eq!(excerpt_of(text, event), expected, "{text:?}");
    check("", "");
    check(" \r\n bad\tthing\u{0}\u{1b}[31m here ", "bad thing [31m here");
    check("token hush-hush is wrong", "token … is wrong");
    check("cannot index ada@example.com twice", "cannot index …");
    check(r#"at: {"email":"ada@example.com","rest"#, r#"at: {"email":"…"#);
    check("the email is wrong", "the email is wrong");
    let long = "ä".repeat(1000);
    assert_eq!(excerpt_of(&long, event).chars().count(), EXCERPT_CHARS_MAX + 1);
}

#[test]
fn a_path_is_joined_below_the_path_of_its_base() {
    let check = |base: &str, expected: &str| {
        assert_eq!(join(&Url::parse(base).expect("a URL"), "/services/collector/event").as_str(), expected);
    };
    check("https://splunk.example.com:8088", "https://splunk.example.com:8088/services/collector/event");
    check("https://splunk.example.com:8088/", "https://splunk.example.com:8088/services/collector/event");
    check("https://proxy.example.com/hec/?x=1#y", "https://proxy.example.com/hec/services/collector/event");
}

#[test]
fn a_receiver_is_named_by_host_and_port_alone() {
    let url = Url::parse("https://user:hush@collectors.sumologic.com/receiver/v1/http/hush?hush").expect("a URL");
    assert_eq!(Receiver::new("Sumo", &url).to_string(), "Sumo at collectors.sumologic.com:443");
}

#[test]
fn a_credential_that_no_header_can_carry_is_refused_without_showing_it() {
    let bad = credential_header("token", "Splunk", &SecretString::from("hush\nhush")).expect_err("refused");
    assert_eq!(bad.class(), ErrorClass::Auth);
    assert!(!bad.to_string().contains("hush"), "{bad}");
    let good = credential_header("token", "Splunk", &SecretString::from("hush")).expect("a header");
    assert_eq!(format!("{good:?}"), "Sensitive");
}

#[test]
fn gzip_is_read_back_as_it_was() {
    for body in [&b""[..], b"{}", &[7; 100_000]] {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*gzip(body)).read_to_end(&mut plain).expect("gzip");
        assert_eq!(plain, body);
    }
}
