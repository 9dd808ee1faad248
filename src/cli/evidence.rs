//! Where `attest` and `diff` know from what was collected: the running daemon, or its state directory where none runs.

use anyhow::{Context, bail};

use super::{
    daemon::{self, DaemonError, DaemonOptions, Request},
    report,
};
use crate::{
    admin::{NAMES_MAX, NamedId, NamesBody},
    attest::{Hours, Report, RuleBook, Selection, gather},
    clock::Clock,
    config::{self, Environment, Settings, settings::AdminSettings},
    event::{StreamId, Timestamp},
    journal::{
        disk::Inspection,
        proof::{FINGERPRINT_BYTES, Fingerprint, Proof, Slot},
    },
    pipeline,
};

/// Where it is known from.
pub(super) enum Source {
    /// The daemon, which answers from its journal.
    Daemon(AdminSettings),
    /// A state directory that nobody uses.
    State { inspection: Box<Inspection>, rules: RuleBook },
}

impl Source {
    /// Asks the daemon for the report of a range; where none runs, makes it from the state directory.
    pub(super) async fn report(
        admin: AdminSettings,
        options: &DaemonOptions,
        selection: &Selection,
        hours: Hours,
    ) -> anyhow::Result<(Self, Report)> {
        match daemon::call(&admin, &Request::get(attest_path(selection, hours))).await {
            Ok(made) => Ok((Self::Daemon(admin), made)),
            Err(error @ (DaemonError::Absent { .. } | DaemonError::Off)) if options.admin.is_none() => {
                let Some(settings) = settings(options) else { return Err(error.into()) };
                let source = Self::of_state(&settings).await.with_context(|| error.to_string())?;
                report("no daemon answers; this is what its state says");
                let made = source.report_of_state(selection, hours).await?;
                Ok((source, made))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn of_state(settings: &Settings) -> anyhow::Result<Self> {
        let options = pipeline::journal_options(settings);
        let looked = tokio::task::spawn_blocking(move || Inspection::of(&options.dir, options.ids_reach)).await;
        let inspection = looked.context("failed to look at the state directory")?.context("failed to look at the state directory")?;
        Ok(Self::State { inspection: Box::new(inspection), rules: pipeline::attest_rules(settings) })
    }

    async fn report_of_state(&self, selection: &Selection, hours: Hours) -> anyhow::Result<Report> {
        let Self::State { inspection, rules } = self else { bail!("there is no state directory to ask") };
        let evidence = gather(&**inspection, selection, hours, |stream| rules.of(stream)).await?;
        Ok(Report::new(inspection.journal_id(), &evidence, hours, Clock::system().now()))
    }

    /// The remembered ids of one slot, sorted.
    pub(super) async fn ids(&self, stream: &StreamId, slot: Slot) -> anyhow::Result<Vec<Fingerprint>> {
        match self {
            Self::State { inspection, .. } => Ok(inspection.known_ids(stream, slot).await?.ids),
            Self::Daemon(admin) => {
                let answer = daemon::send(admin, &Request::get(ids_path(stream, slot))).await?;
                let bytes = daemon::whole_bytes(answer).await?;
                let ids = bytes.chunks_exact(FINGERPRINT_BYTES).map(|chunk| {
                    let mut id = [0; FINGERPRINT_BYTES];
                    id.copy_from_slice(chunk);
                    Fingerprint(id)
                });
                Ok(ids.collect())
            }
        }
    }

    /// The ids behind fingerprints, as far as the journal still has their records.
    pub(super) async fn names(&self, stream: &StreamId, wanted: &[Fingerprint]) -> anyhow::Result<Vec<(Fingerprint, String)>> {
        let mut named = Vec::new();
        for wanted in wanted.chunks(NAMES_MAX) {
            match self {
                Self::State { inspection, .. } => {
                    let found = inspection.named(stream, wanted.to_vec()).await?;
                    named.extend(found.into_iter().map(|named| (named.fingerprint, named.id.to_string())));
                }
                Self::Daemon(admin) => {
                    let ids = wanted.iter().map(ToString::to_string).collect();
                    let body = NamesBody { org: stream.org.to_string(), stream: stream.kind.to_string(), ids };
                    let request = Request::post("/api/v1/ids/names", serde_json::to_value(body)?);
                    let found: Vec<NamedId> = daemon::call(admin, &request).await?;
                    named.extend(found.into_iter().filter_map(|named| Some((Fingerprint::parse(&named.fingerprint)?, named.id))));
                }
            }
        }
        Ok(named)
    }
}

/// The configuration; `None` without one, where there is no saying which state is meant.
pub(super) fn settings(options: &DaemonOptions) -> Option<Settings> {
    config::load(options.config.config.as_deref(), &Environment::of_process()).ok().map(|loaded| loaded.settings)
}

/// The hours of a range, as an operator asked for them; never past the present.
pub(super) fn hours(from: Timestamp, to: Timestamp, now: Timestamp) -> Result<Hours, String> {
    if to <= from {
        return Err(format!("--from {from} is not before --to {to}"));
    }
    if from >= now {
        return Err(format!("--from {from} has not come yet"));
    }
    Hours::touching(from, to.min(now)).ok_or_else(|| "the range is longer than 400 days, and tallies are not kept for longer".to_owned())
}

fn attest_path(selection: &Selection, hours: Hours) -> String {
    let range = hours.range();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("from", &range.from().to_rfc3339_millis()).append_pair("to", &range.to().to_rfc3339_millis());
    if let Some(org) = &selection.org {
        query.append_pair("org", org);
    }
    if let Some(kind) = selection.kind {
        query.append_pair("stream", kind.as_str());
    }
    format!("/api/v1/attest?{}", query.finish())
}

fn ids_path(stream: &StreamId, slot: Slot) -> String {
    let (name, begins) = match slot {
        Slot::Hour(begins) => ("hour", begins),
        Slot::Undated(begins) => ("undated", begins),
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("org", stream.org.as_str()).append_pair("stream", stream.kind.as_str());
    query.append_pair(name, &begins.to_rfc3339_millis());
    format!("/api/v1/ids?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    #[test]
    fn a_range_that_makes_no_sense_is_refused_in_words() {
        for (from, to, expected) in [(5, 5, "is not before"), (5, 4, "is not before"), (11, 12, "has not come"), (-9_999, 3, "400 days")] {
            let refused = hours(at(from), at(to), at(10)).expect_err("makes no sense");
            assert!(refused.contains(expected), "{refused}");
        }
        assert_eq!(hours(at(5), at(99), at(10)).expect("a range").range().to(), at(10));
    }
}
