//! From settings to parts: clients, collectors' parts, sinks and their streams. Nothing runs yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use thiserror::Error;

use super::{gaps::Polled, observe::ObservedStream};
use crate::{
    clock::Clock,
    config::settings::{OrgSettings, Settings, SinkSettings, StreamSettings},
    event::{OrgName, SinkName, StreamId, StreamKind},
    forwarder::{self, Audience, Forwarder},
    health::Health,
    journal::Journal,
    metrics::Metrics,
    miro::{self, Pages},
    sink::{self, Built},
    source::{BackfillRequests, CollectorParts, gaps::KeeperParts},
};

/// Why the parts could not be put together.
#[derive(Debug, Error)]
pub enum AssemblyError {
    /// A sink.
    #[error("failed to set up a sink: {source}")]
    Sink {
        /// Its name.
        name: SinkName,
        /// Why.
        source: sink::BuildError,
    },
    /// An organisation's credentials.
    #[error("failed to set up the organisation {org}: {source}")]
    Org {
        /// Its name.
        org: OrgName,
        /// Why.
        source: miro::SetupError,
    },
}

/// What every part is given.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
}

/// The streams, ready to be collected.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) stream: StreamId,
    pub(super) settings: StreamSettings,
    pub(super) pages: Arc<dyn Pages>,
}

impl Collected {
    pub(super) fn observed(&self) -> ObservedStream {
        let polled = Polled { retention: self.settings.retention, interval: self.settings.poll_interval };
        ObservedStream { stream: self.stream.clone(), pages: self.pages.clone(), polled }
    }

    pub(super) fn keeper_parts(&self, journal: Arc<dyn Journal>, forwarder: Forwarder, shared: &Shared) -> KeeperParts {
        KeeperParts {
            stream: self.stream.clone(),
            settings: self.settings.clone(),
            journal,
            clock: shared.clock.clone(),
            health: shared.health.clone(),
            forwarder,
        }
    }

    /// The requests of this stream, with those that are open from an earlier process.
    pub(super) fn requests(&self, journal: &Arc<dyn Journal>, shared: &Shared) -> BackfillRequests {
        BackfillRequests::load(self.stream.clone(), self.settings.retention, journal.clone(), shared.clock.clone())
    }

    pub(super) fn collector_parts(&self, journal: Arc<dyn Journal>, requests: BackfillRequests, shared: &Shared) -> CollectorParts {
        CollectorParts {
            stream: self.stream.clone(),
            settings: self.settings.clone(),
            pages: self.pages.clone(),
            journal,
            clock: shared.clock.clone(),
            metrics: shared.metrics.clone(),
            health: shared.health.clone(),
            requests,
        }
    }
}

/// Every stream of every organisation.
pub(super) fn streams(settings: &Settings, shared: &Shared) -> Result<Vec<Collected>, AssemblyError> {
    let mut streams = Vec::new();
    for org in &settings.orgs {
        streams.extend(org_streams(org, settings, shared)?);
    }
    Ok(streams)
}

fn org_streams(org: &OrgSettings, settings: &Settings, shared: &Shared) -> Result<Vec<Collected>, AssemblyError> {
    let parts =
        miro::OrgParts { tls: &settings.tls, state_dir: &settings.state.dir, clock: shared.clock.clone(), metrics: shared.metrics.clone() };
    let failed = |source| AssemblyError::Org { org: org.name.clone(), source };
    let api = miro::OrgApi::new(org, parts).map_err(failed)?;
    let collected = |stream: &StreamSettings| {
        let pages = api.pages(stream).map_err(failed)?;
        Ok(Collected { stream: StreamId::new(org.name.clone(), stream.kind), settings: stream.clone(), pages })
    };
    org.streams.iter().map(collected).collect()
}

/// Who says an organisation's events of our own; heard where any sink takes them.
pub(super) fn forwarders(
    settings: &Settings,
    routes: &[(SinkName, Vec<StreamId>)],
    journal: &Arc<dyn Journal>,
    shared: &Shared,
) -> BTreeMap<OrgName, Forwarder> {
    let of = |org: &OrgSettings| {
        let own = forwarder::stream_of(&org.name);
        let is_heard = routes.iter().any(|(_, streams)| streams.contains(&own));
        let audience = if is_heard { Audience::Sinks } else { Audience::Nobody };
        (org.name.clone(), Forwarder::new(&org.name, org.id.clone(), journal.clone(), shared.clock.clone(), audience))
    };
    settings.orgs.iter().map(of).collect()
}

/// A sink, and which streams it takes.
#[derive(Debug)]
pub struct ReadySink {
    /// Its name.
    pub name: SinkName,
    /// The sink, and how its driver is to treat it.
    pub built: Built,
    /// The kinds of streams that it takes.
    pub streams: Vec<StreamKind>,
}

/// Every configured sink.
pub(super) fn sinks(settings: &[SinkSettings]) -> Result<Vec<ReadySink>, AssemblyError> {
    let ready = |settings: &SinkSettings| {
        let built = sink::build(settings).map_err(|source| AssemblyError::Sink { name: settings.name.clone(), source })?;
        Ok(ReadySink { name: settings.name.clone(), built, streams: settings.streams.clone() })
    };
    settings.iter().map(ready).collect()
}

/// Which streams each sink takes: those of Miro, and for each organisation the one of our own.
pub(super) fn routes(streams: &[Collected], sinks: &[ReadySink]) -> Vec<(SinkName, Vec<StreamId>)> {
    let own: BTreeSet<StreamId> = streams.iter().map(|one| forwarder::stream_of(&one.stream.org)).collect();
    let all: Vec<StreamId> = streams.iter().map(|one| one.stream.clone()).chain(own).collect();
    let taken = |sink: &ReadySink| all.iter().filter(|stream| sink.streams.contains(&stream.kind)).cloned().collect();
    sinks.iter().map(|sink| (sink.name.clone(), taken(sink))).collect()
}
