//! How long a refusal that may also mean "not now" is not taken for a refusal of the events.
//!
//! Some protocols have one answer for "never these events" and "something is wrong with me". Taking it for the first turns a log into
//! dead letters while a receiver is broken; taking it for the second holds up a stream for ever behind one bad event. So a stream that is
//! refused as a whole is sent again a few times, and only then the receiver is taken at its word.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::event::StreamId;

/// How often in a row a stream is refused before it counts. With the driver's waits of a second and longer, half a minute passes.
pub(crate) const REFUSALS_MAX: u32 = 5;

/// Counts refusals in a row, for each stream.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    refusals: Mutex<HashMap<StreamId, u32>>,
}

/// Whether a refusal counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It may be the receiver's own state: try again.
    Doubted,
    /// It has been said often enough.
    Taken,
}

impl Patience {
    /// The stream was refused once more.
    pub(crate) fn refused(&self, stream: &StreamId) -> Word {
        let mut refusals = self.refusals();
        let count = refusals.entry(stream.clone()).or_default();
        *count = count.saturating_add(1);
        if *count < REFUSALS_MAX { Word::Doubted } else { Word::Taken }
    }

    /// The receiver took something of the stream, or has been taken at its word: the count begins anew.
    pub(crate) fn renew(&self, stream: &StreamId) {
        self.refusals().remove(stream);
    }

    fn refusals(&self) -> MutexGuard<'_, HashMap<StreamId, u32>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OrgName, StreamKind};

    #[test]
    fn each_stream_is_doubted_for_itself_and_anew_after_every_success() {
        let (patience, org) = (Patience::default(), OrgName::new("acme"));
        let (audit, content) = (StreamId::new(org.clone(), StreamKind::Audit), StreamId::new(org, StreamKind::Content));
        let words = |stream, count| (0..count).map(|_| patience.refused(stream)).collect::<Vec<_>>();
        assert_eq!(words(&audit, 4), [Word::Doubted; 4]);
        assert_eq!(words(&content, 1), [Word::Doubted]);
        assert_eq!(words(&audit, 2), [Word::Taken; 2]);
        patience.renew(&audit);
        assert_eq!(words(&audit, 4), [Word::Doubted; 4]);
        assert_eq!(words(&content, 4)[3], Word::Taken);
    }
}
