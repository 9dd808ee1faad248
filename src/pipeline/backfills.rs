//! Backfills on request, over all streams: what the admin endpoint and the command ask for, handed to each stream's own requests.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::BoxFuture;

use crate::{
    admin::control::{BackfillRequest, BackfillState, BackfillStatus, Backfills, ControlError},
    clock::Clock,
    event::{StreamId, TimeRange, Timestamp},
    health::Health,
    source::{self, BackfillId, BackfillProgress, BackfillRequests, RequestError},
};

/// A range that was cut by less than this is what was asked for.
const CUT_TOLD: Duration = Duration::from_secs(60);

/// Every stream's requests.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) streams: BTreeMap<StreamId, BackfillRequests>,
    pub(super) health: Health,
    pub(super) clock: Clock,
}

impl Engine {
    fn requests(&self, stream: &StreamId) -> Result<&BackfillRequests, ControlError> {
        self.streams.get(stream).ok_or_else(|| {
            let known = self.streams.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            ControlError::Unknown(format!("{stream} is not collected; the streams are {known}"))
        })
    }

    async fn ask(&self, wanted: BackfillRequest) -> Result<BackfillStatus, ControlError> {
        let BackfillRequest { stream, from, to } = wanted;
        let requests = self.requests(&stream)?;
        let to = to.unwrap_or_else(|| self.clock.now());
        let range = TimeRange::new(from, to).filter(|range| !range.is_empty());
        let range =
            range.ok_or_else(|| ControlError::Invalid(format!("the range ends at {to}, which is not after its beginning at {from}")))?;
        let id = requests.request(range).await.map_err(refused)?;
        let progress = requests.progress(id).map(|progress| *progress.borrow());
        let progress = progress.ok_or_else(|| ControlError::Failed("the backfill has ended and is forgotten already".to_owned()))?;
        Ok(BackfillStatus { note: cut(from, progress.range.from()), ..self.status(&stream, &progress) })
    }

    async fn end(&self, id: &str) -> Result<BackfillStatus, ControlError> {
        let unknown = || ControlError::Unknown(format!("there is no backfill {id:?}; `miro-siem backfill --list` lists them"));
        let (stream, number) = parsed(id).ok_or_else(unknown)?;
        let requests = self.streams.get(&stream).ok_or_else(unknown)?;
        let was_open =
            requests.cancel(number).await.map_err(|error| ControlError::Failed(format!("failed to store the change: {error}")))?;
        let progress = requests.progress(number).ok_or_else(unknown)?;
        let status = self.status(&stream, &progress.borrow());
        if was_open {
            Ok(status)
        } else {
            Err(ControlError::Conflict(format!("the backfill {id} has ended already: {}", status.state.as_str())))
        }
    }

    fn status(&self, stream: &StreamId, progress: &BackfillProgress) -> BackfillStatus {
        let BackfillProgress { id, range, missing_at_start, missing_now, events, state } = *progress;
        let board = self.health.streams().remove(stream).unwrap_or_default();
        let fault = board.fault.or(board.backfill.fault).filter(|_| state == source::BackfillState::Running);
        BackfillStatus {
            id: format!("{stream}/{id}"),
            org: stream.org.to_string(),
            stream: stream.kind.to_string(),
            from: range.from().to_rfc3339_millis(),
            to: range.to().to_rfc3339_millis(),
            state: match state {
                source::BackfillState::Running => BackfillState::Running,
                source::BackfillState::Done => BackfillState::Done,
                source::BackfillState::Partly => BackfillState::Partly,
                source::BackfillState::Cancelled => BackfillState::Cancelled,
            },
            range_secs: range.length().as_secs_f64(),
            missing_at_start_secs: missing_at_start.as_secs_f64(),
            missing_secs: missing_now.as_secs_f64(),
            events,
            note: None,
            fault: fault.map(|fault| fault.message),
        }
    }
}

impl Backfills for Engine {
    fn request(&self, wanted: BackfillRequest) -> BoxFuture<'_, Result<BackfillStatus, ControlError>> {
        Box::pin(self.ask(wanted))
    }

    fn list(&self) -> Vec<BackfillStatus> {
        let all = |(stream, requests): (&StreamId, &BackfillRequests)| {
            requests.list().iter().map(|progress| self.status(stream, progress)).collect::<Vec<_>>()
        };
        self.streams.iter().flat_map(all).collect()
    }

    fn cancel<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BackfillStatus, ControlError>> {
        Box::pin(self.end(id))
    }
}

/// `acme/audit/3`
fn parsed(id: &str) -> Option<(StreamId, BackfillId)> {
    let (stream, number) = id.rsplit_once('/')?;
    Some((StreamId::parse(stream)?, BackfillId(number.parse().ok()?)))
}

fn cut(asked: Timestamp, from: Timestamp) -> Option<String> {
    let told = || {
        let from = from.to_rfc3339_secs();
        format!(
            "Miro's log reaches back to {from} only: what is older cannot be collected; if the organisation keeps it for longer, set `retention`"
        )
    };
    (from.since(asked) > CUT_TOLD).then(told)
}

fn refused(error: RequestError) -> ControlError {
    let words = error.to_string();
    match error {
        RequestError::Nothing(..) | RequestError::PastRetention { .. } => ControlError::Invalid(words),
        RequestError::NotBegun(_) => ControlError::NotYet(words),
        RequestError::TooMany(_) => ControlError::Conflict(words),
        RequestError::Journal(_) => ControlError::Failed(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let (stream, number) = parsed("acme/audit/3").expect("an id");
        assert_eq!(format!("{stream}/{number}"), "acme/audit/3");
        for wrong in ["", "3", "acme/audit", "acme/audit/", "acme/audit/x", "acme/nothing/3", "acme/audit/-1"] {
            assert!(parsed(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_cut_range_is_told() {
        let at = |secs: i64| Timestamp::from_millis(secs * 1_000);
        assert_eq!(cut(at(1_000), at(1_030)), None);
        assert!(cut(at(1_000), at(90_000)).is_some_and(|told| told.contains("1970-01-02T01:00:00Z") && told.contains("retention")));
    }
}
