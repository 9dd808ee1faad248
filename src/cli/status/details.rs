//! What is to be known about a stream beyond its line: only what there is something to say about.

use std::fmt::Write as _;

use super::{
    super::{
        readable::clean,
        terminal::{Colours, Tone, indented, span},
    },
    fault_words,
};
use crate::{
    admin::status::{BackfillStatus, PassStatus, StreamStatus},
    event::Timestamp,
};

/// With fewer days it is to be looked after.
const DAYS_FEW: f64 = 7.0;

/// Adds the lines.
pub(super) fn details(text: &mut String, row: &StreamStatus, colours: Colours) {
    past(text, &row.backfill);
    again(text, &row.reconcile);
    limits(text, row, colours);
}

fn past(text: &mut String, work: &BackfillStatus) {
    if work.missing_secs <= 0.0 && work.requests.is_empty() {
        return;
    }
    let mut line = format!("past: {} to collect", span(work.missing_secs));
    let parts = [(work.requests.len(), "backfill", "asked for"), (work.windows, "window", "open"), (work.set_aside, "range", "set aside")];
    for (count, name, what) in parts.into_iter().filter(|(count, ..)| *count > 0) {
        let plural = if count == 1 { "" } else { "s" };
        let _ = write!(line, ", {count} {name}{plural} {what}");
    }
    text.push_str(&indented(&line));
    if let Some(fault) = &work.fault {
        text.push_str(&indented(&fault_words(fault)));
    }
}

fn again(text: &mut String, passes: &[PassStatus]) {
    if passes.is_empty() {
        return;
    }
    let up_to = |pass: &PassStatus| {
        let time =
            Timestamp::parse(&pass.up_to).map_or_else(|_| clean(&pass.up_to), |time| time.to_datetime().format("%m-%d %H:%M").to_string());
        format!("after {} up to {time}", hours(pass.after_secs))
    };
    text.push_str(&indented(&format!("listed again: {}", passes.iter().map(up_to).collect::<Vec<_>>().join(", "))));
    for pass in passes {
        if let Some(fault) = &pass.fault {
            text.push_str(&indented(&format!("listing again after {}: {}", hours(pass.after_secs), fault_words(fault))));
        }
    }
}

/// As the delay is written in the configuration: `24h`, not `1d`, and `1h`, not `60m`.
fn hours(secs: f64) -> String {
    if (3_600.0..=172_800.0).contains(&secs) { format!("{:.0}h", secs / 3_600.0) } else { span(secs) }
}

/// An access token that is refreshed by itself ends within the hour, every hour: what a person has to know is how long it can be refreshed.
fn limits(text: &mut String, row: &StreamStatus, colours: Colours) {
    let quota = row.quota_remaining_credits.map(|credits| format!("quota: {credits} credits left"));
    let ends = match (row.grant_days_left, row.token_days_left) {
        (Some(days), _) => Some(("authorisation", days)),
        (None, Some(days)) => Some(("token", days)),
        (None, None) => None,
    };
    let ends = ends.map(|(what, days)| {
        let words = if days > 0.0 { format!("{what}: {} left", span(days * 86_400.0)) } else { format!("{what}: expired") };
        colours.paint(if days < DAYS_FEW { Tone::Doubtful } else { Tone::Plain }, &words)
    });
    let parts: Vec<String> = quota.into_iter().chain(ends).collect();
    if !parts.is_empty() {
        let _ = writeln!(text, "  {}", parts.join(" · "));
    }
}
