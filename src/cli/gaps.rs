//! `miro-siem gaps`: what is known not to be collected, open and lost.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    Exit, daemon, print,
    readable::{clean, cut},
    terminal::span,
};
use crate::admin::status::{GapState, Status};

const NAME_CHARS_MAX: usize = 24;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    daemon: daemon::DaemonOptions,
    /// Print the gaps as a JSON array
    #[arg(long)]
    json: bool,
}

/// A gap with its stream; the members of the JSON.
#[derive(Debug, Serialize)]
struct Gap<'a> {
    org: &'a str,
    stream: &'a str,
    from: &'a str,
    to: &'a str,
    secs: f64,
    state: GapState,
}

pub(super) fn run(options: &Options) -> Exit {
    daemon::with_admin(&options.daemon, async |admin| {
        let answer = daemon::ask(&admin).await?;
        let gaps = gaps(&answer.status);
        let text = if options.json { serde_json::to_string(&gaps)? + "\n" } else { table(&gaps) };
        Ok(print(text.as_bytes()))
    })
}

fn gaps(status: &Status) -> Vec<Gap<'_>> {
    let mut gaps = Vec::new();
    for row in &status.streams {
        gaps.extend(row.gaps.iter().map(|gap| Gap {
            org: &row.org,
            stream: &row.stream,
            from: &gap.from,
            to: &gap.to,
            secs: gap.secs,
            state: gap.state,
        }));
    }
    gaps
}

fn table(gaps: &[Gap<'_>]) -> String {
    if gaps.is_empty() {
        return "no gaps\n".to_owned();
    }
    let mut text = format!("{:<NAME_CHARS_MAX$} {:<5} {:<24} {:<24} {:>8}\n", "STREAM", "STATE", "FROM", "TO (NOT IN IT)", "LENGTH");
    for gap in gaps {
        let name = cut(&clean(&format!("{}/{}", gap.org, gap.stream)), NAME_CHARS_MAX);
        let (state, length) = (gap.state.as_str(), span(gap.secs));
        let _ = writeln!(text, "{name:<NAME_CHARS_MAX$} {state:<5} {:<24} {:<24} {length:>8}", gap.from, gap.to);
    }
    let count = |state| gaps.iter().filter(|gap| gap.state == state).count();
    let _ = writeln!(text, "\n{} open, will be collected; {} lost, past Miro's retention", count(GapState::Open), count(GapState::Lost));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(org: &'static str, state: GapState) -> Gap<'static> {
        let (from, to) = ("2026-11-20T10:00:00.000Z", "2026-11-20T12:00:00.000Z");
        Gap { org, stream: "audit", from, to, secs: 7_200.0, state }
    }

    #[test]
    fn open_and_lost_gaps_are_told_apart_and_counted() {
        let text = table(&[gap("acme", GapState::Open), gap("acme", GapState::Lost), gap("beta", GapState::Lost)]);
        assert!(text.contains("acme/audit               open  2026-11-20T10:00:00.000Z 2026-11-20T12:00:00.000Z       2h\n"), "{text}");
        assert!(text.contains("beta/audit               lost  "), "{text}");
        assert!(text.ends_with("\n1 open, will be collected; 2 lost, past Miro's retention\n"), "{text}");
    }

    #[test]
    fn the_table_fits_100_columns_whatever_the_names() {
        let long = "an-organisation-with-a-very-long-name-indeed-of-64-letters-and-so";
        let text = table(&[gap(long, GapState::Open)]);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn no_gap_is_said_in_words() {
        assert_eq!(table(&[]), "no gaps\n");
    }
}
