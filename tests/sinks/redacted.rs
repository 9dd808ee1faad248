//! What a sink gets to see of an event, and what stays here.

use miro_siem::{
    config::{
        expression::Expression,
        pointer::Pointer,
        settings::{FilterSettings, Format, RedactRules, RedactSettings},
    },
    event::{Event, Position},
    sink::{ErrorClass, Verdict},
    transform::Redaction,
};

use crate::support::{Answer, Bench, FILTERED_NAME, ScriptedSink};

const SECRET: &str = "jo@example.com";

fn masking(pointers: &[&str]) -> Redaction {
    let mask = pointers.iter().map(|text| Pointer::parse(text).expect("a pointer")).collect();
    Redaction::of(&RedactSettings::Rules(RedactRules { mask, ..RedactRules::default() })).expect("no key")
}

fn with_secret(event: Event) -> Event {
    Event { raw: format!(r#"{{"id":"{}","event":"board_opened","createdBy":{{"email":"{SECRET}"}}}}"#, event.id).into(), ..event }
}

#[tokio::test(start_paused = true)]
async fn a_sink_sees_the_redacted_bytes_only_and_a_dead_letter_keeps_the_original() {
    for format in [Format::Raw, Format::Ocsf, Format::Ecs] {
        // The middle one of three is refused, some are left for later, and everything is sent again after an ambiguous end.
        let verdicts = vec![Verdict::NotTaken, Verdict::Rejected("no".to_owned()), Verdict::NotTaken];
        let script = [Answer::Fails(ErrorClass::Ambiguous), Answer::Each(verdicts)];
        let mut bench = Bench::new(ScriptedSink::script(script));
        (bench.redaction, bench.format) = (masking(&["/createdBy/email"]), format);
        (0..3).for_each(|_| bench.collect_event(with_secret));
        bench.deliver_everything().await;
        assert_eq!((bench.acked(), bench.sink.taken()), (Position(3), vec![1, 3]));
        let handed_over = bench.sink.handed_over();
        assert_eq!(handed_over.len(), 3 + 3 + 2);
        for (raw, record) in handed_over {
            for bytes in [&raw[..], &record] {
                assert!(!String::from_utf8_lossy(bytes).contains(SECRET), "{format:?}: {}", String::from_utf8_lossy(bytes));
            }
        }
        let letters = bench.letters();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].event.raw, with_secret(letters[0].event.clone()).raw, "the dead letter has what Miro sent");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_without_redaction_gets_the_bytes_that_miro_sent() {
    let mut bench = Bench::new(ScriptedSink::script([]));
    let raws = [r#"{ "id":"1", "n":12345678901234567890.10,"n":1e2,"\u0065mail":"x" } "#, r#"{"id":"2","details":"{\"a\":1}"}"#];
    for raw in raws {
        bench.collect_event(|event| Event { raw: raw.into(), ..event });
    }
    bench.deliver_everything().await;
    let seen: Vec<_> = bench.sink.handed_over().into_iter().map(|(raw, _)| raw).collect();
    assert_eq!(seen, raws);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_expression_fails_on_is_delivered_and_counted() {
    let mut bench = Bench::new(ScriptedSink::script([]));
    let cel = Expression::parse("event.details.role == 'OWNER'").expect("an expression");
    bench.filter = FilterSettings { cel: Some(cel), ..FilterSettings::default() };
    let out = FILTERED_NAME;
    for (name, details) in [("x", r#"{"role":"OWNER"}"#), (out, r#"{"role":"VIEWER"}"#), ("x", "{}"), ("x", "null"), (out, r#"{"role":7}"#)]
    {
        bench.collect_event(|event| Event {
            raw: format!(r#"{{"id":"{}","event":"{name}","details":{details}}}"#, event.id).into(),
            ..event
        });
    }
    bench.deliver_everything().await;
    assert_eq!((bench.sink.taken(), bench.counts()), (vec![1, 3, 4], [3, 2, 0, 0]));
    assert_eq!(bench.metric("miro_siem_filter_errors_total"), 2);
}
