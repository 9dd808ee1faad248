//! Which sink takes which stream, remembered from start to start: what a sink had yet to deliver goes with it when it is renamed or taken out
//! of the configuration, and a loss has a name here.

use std::{collections::BTreeSet, sync::Arc};

use tracing::{error, info, warn};

use crate::{
    event::{SinkName, StreamId},
    journal::{Journal, JournalError},
};

const KEY: &str = "pipeline/routes";

/// A sink and a stream that it takes.
type Route = (SinkName, StreamId);

/// Makes the journal keep events for these sinks and no others. Events that only a former sink waited for are let go, and that is said.
pub(super) async fn subscribe(journal: &Arc<dyn Journal>, routes: &[(SinkName, Vec<StreamId>)]) -> Result<(), JournalError> {
    let all: Vec<Route> = routes.iter().flat_map(|(sink, streams)| streams.iter().map(|stream| (sink.clone(), stream.clone()))).collect();
    let stored = journal.state(KEY);
    tell_of_former(journal, &former(stored.as_deref().unwrap_or_default(), &all));
    let written = written(&all);
    journal.subscribe(all).await?;
    if stored.as_deref() != Some(written.as_slice())
        && let Err(error) = journal.put_state(KEY, written).await
    {
        // Nothing depends on it but the words at a later start.
        warn!(%error, "failed to remember which sinks there are");
    }
    Ok(())
}

fn tell_of_former(journal: &Arc<dyn Journal>, former: &[Route]) {
    for (sink, stream) in former {
        match journal.backlog(sink, stream).events {
            0 => info!(%sink, %stream, "sink no longer takes this stream"),
            events => error!(
                %sink, %stream, events,
                "sink no longer takes this stream, and what it had yet to deliver is given up; a renamed sink is a new one"
            ),
        }
    }
}

/// A line each: the sink's name, a tab, the stream.
fn written(routes: &[Route]) -> Vec<u8> {
    let lines: BTreeSet<String> = routes.iter().map(|(sink, stream)| format!("{sink}\t{stream}\n")).collect();
    lines.into_iter().collect::<String>().into_bytes()
}

/// The stored routes that are none any more. A line that cannot be read is of a later version, and not ours to judge.
fn former(stored: &[u8], now: &[Route]) -> Vec<Route> {
    let routes = String::from_utf8_lossy(stored);
    let routes = routes.lines().filter_map(|line| {
        let (sink, stream) = line.split_once('\t')?;
        Some((SinkName::new(sink), StreamId::parse(stream)?))
    });
    routes.filter(|route| !now.contains(route)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OrgName, StreamKind};

    fn route(sink: &str, kind: StreamKind) -> Route {
        (SinkName::new(sink), StreamId::new(OrgName::new("acme"), kind))
    }

    #[test]
    fn what_is_not_configured_any_more_is_found() {
        let before = [route("hec", StreamKind::Audit), route("hec", StreamKind::Content), route("file", StreamKind::Audit)];
        let stored = written(&before);
        assert_eq!(former(&stored, &before), []);
        let now = [route("hec", StreamKind::Audit), route("new", StreamKind::Audit)];
        assert_eq!(former(&stored, &now), [route("file", StreamKind::Audit), route("hec", StreamKind::Content)]);
        assert_eq!(former(b"", &now), []);
        assert_eq!(former(b"nonsense\nhec\tacme/unheard-of\n\xff\n", &now), []);
    }
}
