//! How long a window of the past should be: as long as some twenty full pages, by what the last ones held.

use std::time::Duration;

use super::{SPAN_MAX, plan::SPAN_MIN};

/// A window is meant to have so many full pages: enough that its edges cost little, few enough that a failure or a restart does not cost
/// much and that the newest time is done first.
const PAGES_AIM: f64 = 20.0;
/// A window of more pages than this is handed back where it stands, and what is left of it is cut anew.
pub(super) const PAGES_MAX: u64 = 60;
/// Nothing is known of the first windows.
const SPAN_INITIAL: Duration = Duration::from_secs(3_600);
/// From one window to the next the length changes by this factor at most.
const STEP_MAX: u32 = 4;

/// The length of the next window.
#[derive(Debug)]
pub(super) struct Density {
    span: Duration,
}

impl Density {
    pub(super) fn new() -> Self {
        Self { span: SPAN_INITIAL }
    }

    pub(super) fn span(&self) -> Duration {
        self.span
    }

    /// A stretch of that length had so many events.
    pub(super) fn observe(&mut self, length: Duration, events: u64, page_size: u32) {
        // Half an event stands for none: the next window is longer, and still of some length.
        let pages = (events as f64).max(0.5) / f64::from(page_size.max(1));
        let fitting = length.as_secs_f64() * PAGES_AIM / pages;
        // A short stretch between two windows says little; it does not make the next window shorter than its density asks for.
        let fitting = Duration::from_secs_f64(fitting.min(SPAN_MAX.as_secs_f64()));
        self.span = fitting.clamp(self.span / STEP_MAX, self.span * STEP_MAX).clamp(SPAN_MIN, SPAN_MAX);
    }

    /// A window failed: the next ones are shorter.
    pub(super) fn trouble(&mut self) {
        self.span = (self.span / 2).max(SPAN_MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn windows_grow_in_quiet_times_and_shrink_in_busy_ones() {
        let mut density = Density::new();
        let spans: Vec<_> = (0..4)
            .map(|_| {
                density.observe(density.span(), 0, 500);
                density.span()
            })
            .collect();
        assert_eq!(spans, [HOUR * 4, HOUR * 16, HOUR * 24, HOUR * 24]);
        // A million events a day are 23 pages of 500 in 17 minutes.
        for _ in 0..5 {
            let events = density.span().as_secs() * 1_000_000 / 86_400;
            density.observe(density.span(), events, 500);
        }
        let pages = density.span().as_secs_f64() * 1_000_000.0 / 86_400.0 / 500.0;
        assert!((19.0..=21.0).contains(&pages), "{pages} pages");
        for _ in 0..20 {
            density.trouble();
        }
        assert_eq!(density.span(), SPAN_MIN);
        density.observe(SPAN_MIN, u64::MAX, 1);
        assert_eq!(density.span(), SPAN_MIN);
    }
}
