//! `miro-siem diff`: what was collected against a file of ids, such as an export from a SIEM.

use std::{fmt::Write as _, path::PathBuf};

use self::{
    compare::{Difference, Lacking, Older, compare},
    ids::{Form, IdFile},
};
use super::{
    Exit,
    attest::kind,
    daemon,
    evidence::{Source, hours, settings},
    print,
    readable::clean,
    report,
    time::{When, when},
};
use crate::{
    attest::Selection,
    clock::Clock,
    event::{OrgName, StreamId, StreamKind},
};

mod compare;
mod ids;
mod miro;

/// So many ids stand on the page; the JSON has more.
const SHOWN_MAX: usize = 100;

const EXAMPLES: &str = "Examples:
  miro-siem diff --org acme --stream audit --from 2026-03-01 --to 2026-03-02 --ids exported.txt
  miro-siem diff --org acme --stream audit --from 24h --ids export.ndjson --field /event/id
  splunk search … | miro-siem diff --org acme --stream content --from 24h --ids - --field id --json

The file: one id a line, or NDJSON with --field, or CSV with --column. Export the same whole hours, by the time of the events.

Exit codes: 0 both hold the same, 1 they differ (or it failed, then stderr says why), 2 usage or configuration.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(flatten)]
    daemon: daemon::DaemonOptions,
    /// The organisation's configured name
    #[arg(long, value_name = "ORG")]
    org: String,
    /// The stream: audit, content, ai
    #[arg(long, value_name = "STREAM", value_parser = kind)]
    stream: StreamKind,
    /// From this time on: RFC 3339, a date (UTC), or an age such as 24h
    #[arg(long, value_name = "TIME", value_parser = when)]
    from: When,
    /// Up to this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = when)]
    to: Option<When>,
    /// The file of ids; `-` for stdin
    #[arg(long, value_name = "FILE")]
    ids: PathBuf,
    /// The file is NDJSON, and the id is this member: a name, or a JSON pointer such as /event/id
    #[arg(long, value_name = "NAME|POINTER", conflicts_with = "column")]
    field: Option<String>,
    /// The file is CSV, and the id is in the column of this name
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Ask Miro, with the configured credentials, for the full ids that the journal no longer has
    #[arg(long)]
    ask_miro: bool,
    /// Print it as JSON, with up to a million ids of each kind
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Exit {
    daemon::with_admin(&options.daemon, async |admin| {
        let now = Clock::system().now();
        let to = options.to.map_or(now, |to| to.instant(now));
        let hours = match hours(options.from.instant(now), to, now) {
            Ok(hours) => hours,
            Err(problem) => {
                report(&format!("error: {problem}"));
                return Ok(Exit::Usage);
            }
        };
        let stream = StreamId::new(OrgName::new(&options.org), options.stream);
        let mut file = IdFile::open(&options.ids, form(options), &stream)?;
        let selection = Selection { org: Some(options.org.clone()), kind: Some(options.stream) };
        let (source, made) = Source::report(admin, &options.daemon, &selection, hours).await?;
        let Some(known) = made.streams.first() else {
            report("error: nothing was ever collected of that stream; `miro-siem status` lists the streams");
            return Ok(Exit::Failed);
        };
        let mut difference = compare(&source, &stream, known, (&made.from, &made.to), &mut file).await?;
        name(options, &source, &stream, &mut difference.not_in_file).await;
        let text = if options.json { serde_json::to_string(&difference)? + "\n" } else { page(&difference) };
        let printed = print(text.as_bytes());
        Ok(if difference.equal { printed } else { Exit::Failed })
    })
}

fn form(options: &Options) -> Form {
    match (&options.field, &options.column) {
        (Some(field), _) => Form::json(field),
        (None, Some(column)) => Form::Csv(column.clone()),
        (None, None) => Form::Plain,
    }
}

/// Names ids from the journal, and what it no longer has from Miro, if that is wanted. What cannot be named is listed without.
async fn name(options: &Options, source: &Source, stream: &StreamId, lacking: &mut [Lacking]) {
    if lacking.is_empty() {
        return;
    }
    let wanted: Vec<_> = lacking.iter().map(|one| one.fingerprint).collect();
    match source.names(stream, &wanted).await {
        Ok(named) => {
            let named: std::collections::HashMap<_, _> = named.into_iter().map(|(fingerprint, id)| (fingerprint.0, id)).collect();
            lacking.iter_mut().for_each(|one| one.id = named.get(&one.fingerprint.0).cloned());
        }
        Err(error) => report(&format!("warning: the journal names no ids: {error:#}")),
    }
    if !options.ask_miro || lacking.iter().all(|one| one.id.is_some()) {
        return;
    }
    let Some(settings) = settings(&options.daemon) else {
        report("warning: Miro cannot be asked without a configuration");
        return;
    };
    if let Err(error) = miro::name(&settings, stream, lacking).await {
        report(&format!("warning: Miro names no more ids: {error:#}"));
    }
}

fn page(difference: &Difference) -> String {
    let mut text = String::new();
    let (org, stream) = (clean(&difference.org), &difference.stream);
    let _ = writeln!(text, "{org}/{stream} from {} to {}, by the time of the events", difference.from, difference.to);
    let verdict = if difference.equal { "the same in both" } else { "they DIFFER" };
    let _ = writeln!(text, "{verdict}: {} collected, {} in the file", difference.collected, difference.file_ids);
    if !difference.complete {
        let _ = writeln!(text, "a part of the range is not collected; `miro-siem attest` shows which");
    }
    for (count, what) in [
        (difference.file_repeats, "repeats in the file, which make no difference"),
        (difference.file_lines_without_id, "lines of the file have no id where it should be (--field, --column)"),
        (difference.undated_not_in_file, "collected events without a time are not in the file; an export by time does not find them"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    }
    if let Some(older) = &difference.older {
        older_page(&mut text, older);
    }
    list(&mut text, "in the file and not collected", difference.not_collected_count, difference.not_collected.iter().map(|id| clean(id)));
    let lacking = difference.not_in_file.iter().map(|one| {
        let id = one.id.as_ref().map_or_else(|| format!("fingerprint {}", one.fingerprint), |id| clean(id));
        format!("{}  {id}", one.hour)
    });
    list(&mut text, "collected and not in the file", difference.not_in_file_count, lacking);
    if difference.not_in_file.iter().any(|one| one.id.is_none()) {
        text.push_str("\nThe journal no longer has the events behind the fingerprints; --ask-miro lists their hours again to name them.\n");
    }
    text
}

fn older_page(text: &mut String, older: &Older) {
    let Older { hours, from, to, collected, id_hash, exact, file_ids, file_id_hash, equal } = older;
    let verdict = if *equal { "the same" } else { "DIFFERENT" };
    let _ = writeln!(text, "\n{hours} hours from {from} to {to} are compared as a whole, by count and hash: {verdict}");
    let _ = writeln!(text, "(single ids are no longer remembered there, so what of the file is in no later hour counts to them)");
    let _ = writeln!(text, "  collected {collected:>12}  {id_hash}");
    let _ = writeln!(text, "  file      {file_ids:>12}  {file_id_hash}");
    if !exact {
        text.push_str("  the count of what was collected is not certain there; `miro-siem attest` marks the hours\n");
    }
    if !equal {
        text.push_str("  compare shorter ranges to find where\n");
    }
}

fn list(text: &mut String, what: &str, count: u64, lines: impl Iterator<Item = String>) {
    if count == 0 {
        return;
    }
    let _ = writeln!(text, "\n{count} {what}:");
    for line in lines.take(SHOWN_MAX) {
        let _ = writeln!(text, "  {line}");
    }
    if count > SHOWN_MAX as u64 {
        let _ = writeln!(text, "  and {} more; --json has them", count - SHOWN_MAX as u64);
    }
}
