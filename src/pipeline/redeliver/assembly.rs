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

/// The sinks of a pipeline, each with what it takes and with its state, in one order.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Delivery<'a> {
    pub(in super::super) sinks: &'a [ReadySink],
    pub(in super::super) routes: &'a [(SinkName, Vec<StreamId>)],
    pub(in super::super) states: &'a [Arc<SinkState>],
}

/// What can be sent again, from where and to whom.
pub(in super::super) fn assemble(
    settings: &Settings,
    streams: &[Collected],
    delivery: &Delivery<'_>,
    journal: &Arc<dyn Journal>,
    shared: &Shared,
    stop: CancellationToken,
) -> Redeliver {
    let all = delivery.sinks.iter().zip(delivery.routes).zip(delivery.states);
    let targets = all.map(|((sink, (_, streams)), state)| {
        (sink.name.clone(), Target { state: state.clone(), transform: sink.built.transform.clone(), streams: streams.clone() })
    });
    let origin = |one: &Collected| {
        let origin = Origin { pages: one.pages.clone(), page_size: one.settings.page_size, retention: one.settings.retention };
        (one.stream.clone(), origin)
    };
    Redeliver::new(RedeliverParts {
        targets: targets.collect(),
        origins: streams.iter().map(origin).collect(),
        journal: journal.clone(),
        clock: shared.clock.clone(),
        metrics: shared.metrics.clone(),
        state_dir: settings.state.dir.clone(),
        dead_letter_bytes_max: settings.state.dead_letter_bytes_max,
        stop,
    })
}
