//! From settings and the parts of a pipeline to what can be sent again.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{NewSink, Origin, Redeliver, RedeliverParts, Target};
use crate::{
    config::{Settings, settings::SinkSettings},
    event::{SinkName, StreamId, StreamKind},
    journal::Journal,
    pipeline::{
        ReadySink,
        assembly::{Collected, Shared},
    },
    sink::driver::SinkState,
};

/// What each sink begins with when it is new.
pub(in super::super) fn new_sinks(settings: &Settings, routes: &[(SinkName, Vec<StreamId>)]) -> Vec<NewSink> {
    let new_sink = |sink: &SinkSettings| {
        let (_, streams) = routes.iter().find(|(name, _)| *name == sink.name)?;
        let streams = streams.iter().filter(|stream| stream.kind != StreamKind::Forwarder).cloned().collect();
        Some(NewSink { name: sink.name.clone(), start: sink.start, streams })
    };
    settings.sinks.iter().filter_map(new_sink).collect()
}

/// What can be sent again, from where and to whom.
pub(in super::super) fn assemble(
    settings: &Settings,
    streams: &[Collected],
    (sinks, routes, states): (&[ReadySink], &[(SinkName, Vec<StreamId>)], &[Arc<SinkState>]),
    journal: &Arc<dyn Journal>,
    shared: &Shared,
    stop: CancellationToken,
) -> Redeliver {
    let target = |((sink, (_, streams)), state): ((&ReadySink, &(SinkName, Vec<StreamId>)), &Arc<SinkState>)| {
        (sink.name.clone(), Target { state: state.clone(), transform: sink.built.transform.clone(), streams: streams.clone() })
    };
    let origin = |one: &Collected| {
        let origin = Origin { pages: one.pages.clone(), page_size: one.settings.page_size, retention: one.settings.retention };
        (one.stream.clone(), origin)
    };
    Redeliver::new(RedeliverParts {
        targets: sinks.iter().zip(routes).zip(states).map(target).collect(),
        origins: streams.iter().map(origin).collect(),
        journal: journal.clone(),
        clock: shared.clock.clone(),
        metrics: shared.metrics.clone(),
        state_dir: settings.state.dir.clone(),
        dead_letter_bytes_max: settings.state.dead_letter_bytes_max,
        stop,
    })
}
