//! What is said about a gap: the event of each change.

use serde::Serialize;

use super::ledger::{Change, ChangeKind};
use crate::{
    event::{StreamId, StreamKind},
    forwarder::{Notice, OwnEvent},
};

/// `details` of an event about a gap. Times are RFC 3339, `to` is the first instant after the range.
#[derive(Serialize)]
struct Details<'a> {
    stream: &'static str,
    /// What is missing, from its first instant to its last; for one that has closed, all that was missing.
    from: String,
    to: String,
    /// How much of it can still be collected; for one that has closed, how long it was.
    seconds: f64,
    lost_seconds: f64,
    opened_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u8>,
    /// When its oldest instant cannot be collected any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_from: Option<String>,
    cause: &'a str,
    mend: &'static str,
}

/// The event of that change. The same change gives the same event.
pub(super) fn event(change: &Change, stream: &StreamId, org_id: Option<&str>) -> OwnEvent {
    let (gap, kind) = (&change.gap, change.kind);
    let which = format!("{}/{}", gap.key, gap.opened_at);
    let percent = match kind {
        ChangeKind::Warned(percent) => Some(percent),
        _ => None,
    };
    let key = percent.map_or_else(|| which.clone(), |percent| format!("{which}/{percent}"));
    let seconds = if kind == ChangeKind::Closed { change.range.length() } else { change.open };
    let details = Details {
        stream: stream.kind.as_str(),
        from: change.range.from().to_rfc3339_millis(),
        to: change.range.to().to_rfc3339_millis(),
        seconds: seconds.as_secs_f64(),
        lost_seconds: change.lost.as_secs_f64(),
        opened_at: gap.opened_at.to_rfc3339_millis(),
        percent,
        lost_from: change.lost_from.map(|time| time.to_rfc3339_millis()),
        cause: &gap.cause,
        mend: mend(kind, stream.kind),
    };
    OwnEvent::new(&Notice { name: name(kind), stream, key: &key, at: change.at }, org_id, &details)
}

fn name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Opened => "gap_opened",
        ChangeKind::Warned(_) => "gap_warning",
        ChangeKind::PartlyLost => "gap_partly_lost",
        ChangeKind::Closed => "gap_closed",
        ChangeKind::Lost => "gap_lost",
    }
}

fn mend(kind: ChangeKind, stream: StreamKind) -> &'static str {
    match (kind, stream) {
        (ChangeKind::Opened, _) => "it is collected as soon as Miro can be reached; `miro-siem status` says what is in the way",
        (ChangeKind::Warned(_), _) => {
            "Miro's API lets go of it at `lost_from`: see in `miro-siem status` what is in the way, or export the range in Miro before then"
        }
        (ChangeKind::Closed, _) => "nothing is to be done",
        // The organisation's own retention of audit logs may be longer than what the API answers.
        (ChangeKind::PartlyLost | ChangeKind::Lost, StreamKind::Audit) => {
            "Miro's API no longer has it; where the organisation keeps its audit log for longer, a company admin can still export the range in Miro"
        }
        (ChangeKind::PartlyLost | ChangeKind::Lost, _) => {
            "Miro no longer has it; where its retention is longer, set `retention` and it is collected"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        event::{OrgName, TimeRange, Timestamp},
        source::gaps::Gap,
    };

    #[test]
    fn an_event_names_the_gap_its_cause_and_the_mend() {
        let at = |minute: i64| Timestamp::from_millis(1_767_225_600_000 + minute * 60_000);
        let stream = StreamId::new(OrgName::new("acme"), StreamKind::Audit);
        let range = TimeRange::new(at(0), at(20)).expect("from <= to");
        let gap = Gap { key: at(0), opened_at: at(15), range, warned_percent: 0, is_losing: false, cause: "HTTP 503".to_owned() };
        let (open, lost) = (Duration::from_secs(1_200), Duration::ZERO);
        let change = Change { kind: ChangeKind::Warned(50), gap, at: at(20), range, open, lost, lost_from: Some(at(129_600)) };
        let written = event(&change, &stream, None);
        assert_eq!(written.id().as_str(), "miro_siem.gap_warning/acme/audit/2026-01-01T00:00:00Z/2026-01-01T00:15:00Z/50");
        let value: serde_json::Value = serde_json::from_slice(written.raw()).expect("JSON");
        let expected = serde_json::json!({
            "stream": "audit", "from": "2026-01-01T00:00:00.000Z", "to": "2026-01-01T00:20:00.000Z", "seconds": 1200.0, "lost_seconds": 0.0,
            "opened_at": "2026-01-01T00:15:00.000Z", "percent": 50, "lost_from": "2026-04-01T00:00:00.000Z", "cause": "HTTP 503",
            "mend": mend(ChangeKind::Warned(50), StreamKind::Audit),
        });
        assert_eq!(value["details"], expected);
        assert_eq!(event(&change, &stream, None), written, "the same change is the same event");
    }
}
