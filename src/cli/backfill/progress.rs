//! How far a backfill is, for the person at the terminal: a bar, or plain lines where stderr is no terminal.

use std::{
    collections::VecDeque,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::{readable::clean, report, terminal::span};
use crate::{admin::control::BackfillStatus, event::Timestamp};

/// The speed is that of the newest stretch: a quota that is used up or a dense week shows at once.
const SPEED_OVER: Duration = Duration::from_secs(20);
/// Often enough to see that it goes on, and a night of it fits a log.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// A bar of this many steps moves smoothly.
const STEPS: u64 = 1_000;
const BAR: &str = "{prefix} {bar:24} {percent:>3} % {wide_msg}";
/// A fault of one attempt that the next one mends is not worth a word.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Shows how far it is, on stderr.
pub(super) struct Progress {
    pace: Pace,
    shown: Shown,
    /// What was told last of what is in the way.
    told: Option<String>,
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
}

impl Progress {
    /// A bar on a terminal, else lines.
    pub(super) fn new() -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
            // A constant that is right: what it would say otherwise is that it is not.
            bar.set_style(ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()));
            Shown::Bar(bar)
        } else {
            Shown::Lines { last: None }
        };
        Self { pace: Pace::default(), shown, told: None }
    }

    /// Shows where it is now.
    pub(super) fn show(&mut self, status: &BackfillStatus) {
        self.pace.add(Instant::now(), status.missing_secs, status.events);
        self.tell(status.fault.as_deref().filter(|_| self.pace.is_stuck()));
        let (name, words) = (clean(&format!("{}/{}", status.org, status.stream)), words(status, &self.pace));
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_prefix(name);
                bar.set_message(words);
                // The last step is for the end.
                bar.set_position(((status.fraction() * STEPS as f64) as u64).min(STEPS - 1));
            }
            Shown::Lines { last } if last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) => {
                *last = Some(Instant::now());
                report(&format!("{name}: {:.0} % {words}", (status.fraction() * 100.0).floor()));
            }
            Shown::Lines { .. } => {}
        }
    }

    /// Says once what is in the way, on lines of its own: it is longer than what fits beside a bar.
    fn tell(&mut self, fault: Option<&str>) {
        if fault.is_none() || fault == self.told.as_deref() {
            return;
        }
        self.told = fault.map(str::to_owned);
        let words = format!("it waits: {}", clean(fault.unwrap_or_default()));
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| report(&words)),
            Shown::Lines { .. } => report(&words),
        }
    }

    /// Shows words in the place of progress.
    pub(super) fn say(&mut self, words: &str) {
        match &mut self.shown {
            Shown::Bar(bar) => bar.set_message(words.to_owned()),
            Shown::Lines { last } if last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) => {
                *last = Some(Instant::now());
                report(words);
            }
            Shown::Lines { .. } => {}
        }
    }

    /// Leaves the line to what comes next.
    pub(super) fn clear(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn words(status: &BackfillStatus, pace: &Pace) -> String {
    let left = pace.time_left().map_or_else(String::new, |left| format!(", {} left", span(left.as_secs_f64())));
    format!("of {}, {} events, {:.0}/s{left}", span(status.range_secs), status.events, pace.events_per_sec())
}

/// How it ended, in a sentence.
pub(super) fn summary(status: &BackfillStatus) -> String {
    let (from, to) = (second(&status.from), second(&status.to));
    let stream = clean(&format!("{}/{}", status.org, status.stream));
    format!(
        "{stream} from {from} to {to}: {}, {:.0} % collected, {} new events",
        status.state.as_str(),
        (status.fraction() * 100.0).floor(),
        status.events
    )
}

/// A time without its fraction.
pub(super) fn second(time: &str) -> String {
    Timestamp::parse(time).map_or_else(|_| clean(time), Timestamp::to_rfc3339_secs)
}

/// How fast it goes.
#[derive(Debug, Default)]
struct Pace {
    /// When, seconds that were missing then, events so far; oldest first.
    seen: VecDeque<(Instant, f64, u64)>,
    /// When it last moved, or was first looked at.
    moved_at: Option<Instant>,
}

impl Pace {
    fn add(&mut self, at: Instant, missing_secs: f64, events: u64) {
        if self.seen.back().is_none_or(|(_, missing_before, events_before)| (*missing_before, *events_before) != (missing_secs, events)) {
            self.moved_at = Some(at);
        }
        self.seen.push_back((at, missing_secs, events));
        // One that is older stays, so that the stretch is never shorter.
        while self.seen.get(1).is_some_and(|(older, ..)| at.duration_since(*older) >= SPEED_OVER) {
            self.seen.pop_front();
        }
    }

    /// How long, how many seconds of the range, how many events.
    fn stretch(&self) -> (f64, f64, f64) {
        match (self.seen.front(), self.seen.back()) {
            (Some(first), Some(last)) => {
                let took = last.0.duration_since(first.0).as_secs_f64();
                // After a restart of the daemon, events count from nothing.
                (took, first.1 - last.1, last.2.saturating_sub(first.2) as f64)
            }
            _ => (0.0, 0.0, 0.0),
        }
    }

    fn is_stuck(&self) -> bool {
        self.moved_at.zip(self.seen.back()).is_some_and(|(moved, (last, ..))| last.duration_since(moved) >= STUCK_AFTER)
    }

    fn events_per_sec(&self) -> f64 {
        let (took, _, events) = self.stretch();
        if took > 0.0 { events / took } else { 0.0 }
    }

    /// How long it takes at this speed; `None` while it does not move.
    fn time_left(&self) -> Option<Duration> {
        let (took, collected, _) = self.stretch();
        let missing = self.seen.back()?.1;
        if collected <= 0.0 {
            return None;
        }
        Duration::try_from_secs_f64(missing / collected * took).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_that_of_the_newest_stretch() {
        let mut pace = Pace::default();
        let began = Instant::now();
        assert_eq!((pace.events_per_sec(), pace.time_left()), (0.0, None));
        pace.add(began, 1_000.0, 0);
        assert_eq!((pace.events_per_sec(), pace.time_left()), (0.0, None), "one look says nothing about the speed");
        for step in 1..=60_u32 {
            // Slow at first, ten times as fast later.
            let (missing, events) = if step <= 30 { (1_000 - step, step) } else { (970 - (step - 30) * 10, 30 + (step - 30) * 10) };
            pace.add(began + Duration::from_secs(step.into()), missing.into(), events.into());
        }
        assert!((pace.events_per_sec() - 10.0).abs() < 1e-9, "{}", pace.events_per_sec());
        assert_eq!(pace.time_left(), Some(Duration::from_secs(67)));
        assert!(pace.seen.len() <= 22, "{}", pace.seen.len());
    }

    #[test]
    fn it_is_stuck_when_nothing_has_moved_for_a_while() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let at = |secs| began + Duration::from_secs(secs);
        for (secs, missing, stuck) in [(0, 9.0, false), (4, 9.0, false), (5, 9.0, true), (6, 8.0, false), (10, 8.0, false), (11, 8.0, true)]
        {
            pace.add(at(secs), missing, 0);
            assert_eq!(pace.is_stuck(), stuck, "after {secs} s");
        }
    }

    #[test]
    fn a_restart_that_counts_anew_is_no_negative_speed() {
        let mut pace = Pace::default();
        let began = Instant::now();
        pace.add(began, 100.0, 5_000);
        pace.add(began + Duration::from_secs(1), 100.0, 0);
        assert_eq!((pace.events_per_sec(), pace.time_left()), (0.0, None));
    }
}
