//! What differs between Miro's logs, in one table. Sources: the Miro REST API reference ("Get audit logs", "Retrieve content change
//! logs of board items", "Get AI interaction logs (Beta)", "Rate limiting") and Miro's help centre.

use std::time::Duration;

use super::Credits;
use crate::event::{StreamKind, TimeRange, Timestamp};

/// A log that Miro hands out page by page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogKind {
    /// `GET /v2/audit/logs`
    Audit,
    /// `GET /v2/orgs/{org}/content-logs/items`
    Content,
    /// `GET /v2/orgs/{org}/ai-interaction-logs`
    Ai,
}

/// The query parameters that frame a window.
pub(super) struct WindowParameters {
    pub(super) from: (&'static str, String),
    pub(super) to: (&'static str, String),
    pub(super) sorting: &'static str,
}

impl LogKind {
    /// The log behind a stream; `None` for snapshots and for events of our own.
    pub fn of(stream: StreamKind) -> Option<Self> {
        match stream {
            StreamKind::Audit => Some(Self::Audit),
            StreamKind::Content => Some(Self::Content),
            StreamKind::Ai => Some(Self::Ai),
            StreamKind::Licenses | StreamKind::Forwarder => None,
        }
    }

    /// The stream that this log feeds.
    pub fn stream(self) -> StreamKind {
        match self {
            Self::Audit => StreamKind::Audit,
            Self::Content => StreamKind::Content,
            Self::Ai => StreamKind::Ai,
        }
    }

    /// What one page costs: level 2 for audit logs, level 4 for the others.
    pub fn cost(self) -> Credits {
        match self {
            Self::Audit => Credits::LEVEL_2,
            Self::Content | Self::Ai => Credits::LEVEL_4,
        }
    }

    /// The scope that a token needs.
    pub fn scope(self) -> &'static str {
        match self {
            Self::Audit => "auditlogs:read",
            Self::Content => "contentlogs:export",
            Self::Ai => "aiinteractionlogs:read",
        }
    }

    /// The largest page that Miro documents; it documents none for audit logs.
    pub fn page_size_max(self) -> Option<u32> {
        match self {
            Self::Audit => None,
            Self::Content => Some(1_000),
            Self::Ai => Some(100),
        }
    }

    /// Whether the organisation is part of the path; for audit logs the token alone selects it.
    pub(super) fn needs_org(self) -> bool {
        !matches!(self, Self::Audit)
    }

    /// The path under the API's address, segment by segment.
    pub(super) fn path(self, org: &str) -> Vec<&str> {
        match self {
            Self::Audit => vec!["v2", "audit", "logs"],
            Self::Content => vec!["v2", "orgs", org, "content-logs", "items"],
            Self::Ai => vec!["v2", "orgs", org, "ai-interaction-logs"],
        }
    }

    /// The field that holds an event's time: the one on which the log is filtered.
    pub(super) fn time_field(self) -> &'static str {
        match self {
            Self::Audit => "createdAt",
            Self::Content => "actionTime",
            Self::Ai => "storedAt",
        }
    }

    /// The window as Miro takes it, never narrower than asked: audit logs take milliseconds, the others whole seconds.
    pub(super) fn window(self, window: TimeRange) -> WindowParameters {
        match self {
            Self::Audit => WindowParameters {
                from: ("createdAfter", window.from().floor_millis().to_rfc3339_millis()),
                to: ("createdBefore", ceil_millis(window.to()).to_rfc3339_millis()),
                sorting: "ASC",
            },
            Self::Content | Self::Ai => WindowParameters {
                from: ("from", window.from().floor_secs().to_rfc3339_secs()),
                to: ("to", window.to().ceil_secs().to_rfc3339_secs()),
                sorting: "asc",
            },
        }
    }

    /// The wanted page size, held within what Miro documents.
    pub(super) fn page_size(self, wanted: u32) -> u32 {
        wanted.clamp(1, self.page_size_max().unwrap_or(u32::MAX))
    }
}

fn ceil_millis(time: Timestamp) -> Timestamp {
    time.plus(Duration::from_micros(999)).floor_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: LogKind, micros: (i64, i64), expected: [(&str, &str); 2]) {
        let window = TimeRange::new(Timestamp::from_micros(micros.0), Timestamp::from_micros(micros.1)).expect("in order");
        let parameters = kind.window(window);
        assert_eq!((parameters.from.0, parameters.from.1.as_str()), expected[0]);
        assert_eq!((parameters.to.0, parameters.to.1.as_str()), expected[1]);
    }

    #[test]
    fn a_window_is_widened_to_what_miro_takes_and_never_narrowed() {
        let second = ("from", "1970-01-01T00:00:01Z");
        check(
            LogKind::Audit,
            (1_000_999, 1_001_001),
            [("createdAfter", "1970-01-01T00:00:01.000Z"), ("createdBefore", "1970-01-01T00:00:01.002Z")],
        );
        check(
            LogKind::Audit,
            (1_000_000, 1_001_000),
            [("createdAfter", "1970-01-01T00:00:01.000Z"), ("createdBefore", "1970-01-01T00:00:01.001Z")],
        );
        check(LogKind::Content, (1_999_999, 2_000_001), [second, ("to", "1970-01-01T00:00:03Z")]);
        check(LogKind::Ai, (1_000_000, 2_000_000), [second, ("to", "1970-01-01T00:00:02Z")]);
    }

    #[test]
    fn a_page_size_stays_within_what_miro_documents() {
        for (kind, wanted, sent) in [
            (LogKind::Audit, 0, 1),
            (LogKind::Audit, 500, 500),
            (LogKind::Content, 5_000, 1_000),
            (LogKind::Content, 500, 500),
            (LogKind::Ai, 500, 100),
        ] {
            assert_eq!(kind.page_size(wanted), sent, "{kind:?} {wanted}");
        }
    }
}
