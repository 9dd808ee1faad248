//! Dead letters once more: through the sink's filter and format as they are now, from the original bytes, with the driver's usual retries.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{DeadLetter, DeadLetterError, DeadLetters, Gone, LetterKey, Reason};
use crate::{
    clock::Clock,
    event::{Event, Position, StreamId},
    journal::Chunk,
    sink::driver::{Begin, Care, Driver, Earlier, Ended, Extent, Lane, Purpose, Shutdown, SinkState, Supply, SupplyError, Tally, Wanted},
    transform::TransformSettings,
};

/// So many letters are in memory at once at most, and no more bytes of events than this, but for a single larger one.
const LETTERS_MAX: usize = 1_000;
const BYTES_MAX: usize = 8 << 20;

/// What a retry needs.
#[derive(Clone, Debug)]
pub struct RetryParts {
    /// The sink, with its store.
    pub sink: Arc<SinkState>,
    /// What it is sent, as configured now.
    pub transform: TransformSettings,
    /// What time it is.
    pub clock: Clock,
}

/// What came of it so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryReport {
    /// Letters that were to be sent again.
    pub selected: u64,
    /// Those that the receiver has taken.
    pub delivered: u64,
    /// Those that the sink's filter leaves out by now.
    pub filtered: u64,
    /// Those that were refused again: they stay, with one more attempt and the newest answer.
    pub refused: u64,
    /// Those whose stored line cannot be read: they stay.
    pub unreadable: u64,
}

impl RetryReport {
    fn add(&mut self, tally: Tally) {
        self.delivered += tally.delivered;
        self.filtered += tally.filtered;
        self.refused += tally.dead_lettered;
    }
}

/// Sends the letters again that `is_wanted`. What was delivered leaves the store, batch by batch; a stop leaves the rest there. `report` is
/// told after each step.
pub async fn retry(
    parts: &RetryParts,
    is_wanted: impl Fn(&DeadLetter) -> bool,
    report: impl Fn(RetryReport),
    shutdown: &Shutdown,
) -> Result<(RetryReport, Ended), DeadLetterError> {
    let store = parts.sink.dead_letters().clone();
    let mut letters = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || store.letters()).await.unwrap_or(Err(DeadLetterError::Ending))?
    };
    let mut told = RetryReport::default();
    loop {
        // A chunk is a few thousand reads at most, of what the page cache mostly has.
        let (by_stream, is_last) = next_chunk(&mut letters, &is_wanted, &mut told)?;
        for (stream, letters) in by_stream {
            let lane = Lane { stream, purpose: Purpose::Retry };
            let supply = Arc::new(FromLetters::new(letters, store.clone(), parts.clock.clone(), parts.sink.reserve_positions()));
            let driver = Driver::of(parts.sink.clone(), lane, supply, parts.transform.clone());
            let ended = driver.run_to_the_end(shutdown).await;
            told.add(driver.tally());
            report(told);
            if ended != Ended::Delivered {
                return Ok((told, ended));
            }
        }
        if is_last {
            parts.sink.show_dead_letters();
            return Ok((told, Ended::Delivered));
        }
    }
}

type ByStream = BTreeMap<StreamId, Vec<DeadLetter>>;

fn next_chunk(
    letters: &mut super::Letters,
    is_wanted: impl Fn(&DeadLetter) -> bool,
    told: &mut RetryReport,
) -> Result<(ByStream, bool), DeadLetterError> {
    let (mut chunk, mut count, mut bytes) = (ByStream::new(), 0, 0);
    while count < LETTERS_MAX && bytes < BYTES_MAX {
        match letters.next() {
            None => return Ok((chunk, true)),
            Some(Ok(letter)) if is_wanted(&letter) => {
                count += 1;
                told.selected += 1;
                bytes += letter.event.raw.len();
                chunk.entry(letter.stream.clone()).or_default().push(letter);
            }
            Some(Ok(_)) => {}
            Some(Err(DeadLetterError::Corrupt { .. })) => told.unreadable += 1,
            Some(Err(error)) => return Err(error),
        }
    }
    Ok((chunk, false))
}

/// Letters of one stream, in memory, under positions of their own.
#[derive(Debug)]
struct FromLetters {
    letters: Vec<DeadLetter>,
    store: DeadLetters,
    clock: Clock,
    /// The position before that of the first one.
    base: Position,
    progress: Mutex<Progress>,
    head: watch::Sender<Position>,
}

#[derive(Debug, Default)]
struct Progress {
    /// So many from the front have left the store, or stay in it for good.
    settled: usize,
    /// Those that were refused again.
    refused: HashSet<usize>,
}

impl FromLetters {
    fn new(letters: Vec<DeadLetter>, store: DeadLetters, clock: Clock, base: Position) -> Self {
        Self { letters, store, clock, base, progress: Mutex::default(), head: watch::Sender::new(Position(u64::MAX)) }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many letters have a position up to that one.
    fn count(&self, position: Position) -> usize {
        usize::try_from(position.0.saturating_sub(self.base.0)).unwrap_or(usize::MAX).min(self.letters.len())
    }

    fn position(&self, count: usize) -> Position {
        Position(self.base.0 + count as u64)
    }

    /// The letter of an event that was refused again: where it was, how often it was tried in all.
    fn renewed(&self, letter: DeadLetter) -> (usize, DeadLetter) {
        let place = self.count(letter.event.position) - 1;
        let before = &self.letters[place];
        let event = Event { position: before.event.position, ..letter.event };
        let attempts = before.attempts.saturating_add(letter.attempts);
        (place, DeadLetter { event, attempts, first_attempt_at: before.first_attempt_at, ..letter })
    }
}

impl Supply for FromLetters {
    fn begin(&self) -> BoxFuture<'_, Result<Begin, SupplyError>> {
        let after = self.position(self.progress().settled);
        Box::pin(async move { Ok(Begin { after, earlier: Earlier::AtRest }) })
    }

    fn read(&self, wanted: Wanted) -> BoxFuture<'_, Result<Chunk, SupplyError>> {
        let (from, mut events, mut bytes) = (self.count(wanted.after), Vec::new(), 0);
        for (index, letter) in self.letters.iter().enumerate().skip(from).take(wanted.events_max) {
            bytes += letter.event.raw.len();
            if bytes > wanted.bytes_max && !events.is_empty() {
                break;
            }
            events.push(Event { position: self.position(index + 1), ..letter.event.clone() });
        }
        let read = from + events.len();
        let up_to = if read == self.letters.len() { Position(u64::MAX) } else { self.position(read) };
        Box::pin(async move { Ok(Chunk { events, up_to }) })
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    fn extent(&self) -> Extent {
        Extent::Ends
    }

    fn settled(&self, up_to: Position) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async move {
            let up_to = self.count(up_to);
            let keys: Vec<LetterKey> = {
                let progress = self.progress();
                let settled = (progress.settled..up_to).filter(|place| !progress.refused.contains(place));
                settled.map(|place| self.letters[place].key()).collect()
            };
            let removed = self.store.remove(&keys, Gone::Settled, self.clock.now()).await;
            removed.map_err(|error| SupplyError::Failed { class: "dead_letters", message: error.to_string(), wait: None })?;
            let mut progress = self.progress();
            progress.settled = progress.settled.max(up_to);
            Ok(())
        })
    }

    fn care(&self, position: Position) -> Care {
        let letter = self.count(position).checked_sub(1).and_then(|place| self.letters.get(place));
        if letter.is_some_and(|letter| letter.reason == Reason::MaybeRejected) { Care::Alone } else { Care::Usual }
    }

    fn set_aside<'a>(&'a self, letters: Vec<DeadLetter>, store: &'a DeadLetters) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        Box::pin(async move {
            let (places, letters): (Vec<usize>, Vec<DeadLetter>) = letters.into_iter().map(|letter| self.renewed(letter)).unzip();
            store.put_again(letters).await?;
            self.progress().refused.extend(places);
            Ok(())
        })
    }

    fn delivering(&self) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async { Ok(()) })
    }

    fn at_rest(&self) -> BoxFuture<'_, Result<(), SupplyError>> {
        Box::pin(async { Ok(()) })
    }
}
