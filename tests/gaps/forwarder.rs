//! The emitter: what an event looks like, and that it is in the journal once.

use miro_siem::{
    clock::Clock,
    event::{SinkName, StreamKind},
    forwarder::{Audience, Forwarder, Notice, OwnEvent, stream_of},
};
use serde_json::json;

use super::support::{at, audit, open, org, own_events};

const DAY_SECS: u64 = 86_400;

fn event(key: &str, secs: u64) -> OwnEvent {
    let details = json!({ "stream": "audit", "seconds": 600 });
    OwnEvent::new(&Notice { name: "gap_opened", stream: &audit(), key, at: at(secs) }, Some("3074457345821141000"), &details)
}

#[test]
fn an_event_of_ours_has_the_shape_of_an_audit_record() {
    assert_eq!(
        String::from_utf8_lossy(event("1/2", 0).raw()),
        r#"{"id":"miro_siem.gap_opened/acme/audit/1/2","type":"event","event":"miro_siem.gap_opened","category":"miro_siem","createdAt":"2026-11-20T10:00:00.000Z","createdBy":{"type":"application","id":"miro-siem","name":"miro-siem"},"object":{"id":"acme/audit","name":"acme/audit"},"context":{"organization":{"id":"3074457345821141000","name":"acme"}},"details":{"seconds":600,"stream":"audit"}}"#
            .replace("2026-11-20T10:00:00.000Z", &at(0).to_rfc3339_millis())
    );
}

#[tokio::test]
async fn an_event_that_is_emitted_again_after_a_restart_is_in_the_journal_once() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..2 {
        let journal = open(dir.path());
        journal.subscribe(vec![(SinkName::new("s"), stream_of(&org()))]).await.expect("subscribed");
        let forwarder = Forwarder::new(&org(), None, journal.clone(), Clock::system(), Audience::Sinks);
        for secs in [0, 5, 0] {
            forwarder.emit(&event(&secs.to_string(), secs)).await.expect("durable");
        }
        assert_eq!(own_events(&journal).await.len(), 2);
        journal.close().await.expect("closes");
    }
}

#[tokio::test]
async fn events_of_months_do_not_keep_every_id() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    let forwarder = Forwarder::new(&org(), None, journal.clone(), Clock::system(), Audience::Sinks);
    for day in 0..100 {
        forwarder.emit(&event("x", day * DAY_SECS)).await.expect("durable");
    }
    let coverage = journal.coverage(&stream_of(&org())).expect("the stream has begun");
    assert_eq!((coverage.origin(), coverage.watermark()), (at(0), at(69 * DAY_SECS)));
    // What was said in the last 30 days is still known.
    let head = *journal.head().borrow();
    forwarder.emit(&event("x", 75 * DAY_SECS)).await.expect("known");
    assert_eq!(*journal.head().borrow(), head);
}

#[tokio::test]
async fn nothing_is_written_where_nobody_listens() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    let forwarder = Forwarder::new(&org(), None, journal.clone(), Clock::system(), Audience::Nobody);
    forwarder.emit(&event("x", 0)).await.expect("nothing to do");
    assert_eq!(journal.coverage(&stream_of(&org())), None);
}

#[test]
fn the_stream_of_our_own_events_prints_and_reads_back() {
    assert_eq!(stream_of(&org()).to_string(), "acme/forwarder");
    assert_eq!(miro_siem::event::StreamId::parse("acme/forwarder").map(|stream| stream.kind), Some(StreamKind::Forwarder));
}
