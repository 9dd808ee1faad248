//! What events say, as bytes: a pure function of the seed and an event's number, the same every time.
//!
//! Most events take the fast path: fragments made once are copied together with a few numbers. A few in a hundred are odd but legal
//! (see [`odd`]); they are assembled member by member. Nothing here knows about time windows, pages or visibility.

mod ai;
pub(crate) mod audit;
pub(crate) mod catalogue;
mod content;
mod details;
pub(crate) mod json;
mod odd;
mod text;

use std::sync::Arc;

use crate::config::{SimConfig, Stream};
use crate::mix::Mix;
use crate::org::Organisation;
use crate::timeline::story::Scripted;
use crate::timeline::{Entry, Key, What};
use catalogue::Catalogue;

const KEY_EVENT: [u64; 3] = [401, 402, 403];
const KEY_BROKEN: u64 = 404;

/// How a record's id or time is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    NoId,
    NullId,
    NoTime,
    WordAsTime,
}

/// Renders the events of all three streams.
#[derive(Debug)]
pub(crate) struct Renderer {
    pub(crate) org: Arc<Organisation>,
    catalogue: Catalogue,
    scripted: Arc<Vec<Scripted>>,
    undecodable_fraction: f64,
    ai_new_schema_fraction: f64,
}

/// What filters of the content and AI listings look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) person: usize,
    /// `None` where an AI interaction was about the organisation.
    pub(crate) board: Option<usize>,
}

impl Renderer {
    pub(crate) fn new(config: &SimConfig, org: Arc<Organisation>, scripted: Arc<Vec<Scripted>>) -> Self {
        Self {
            org,
            catalogue: Catalogue::new(),
            scripted,
            undecodable_fraction: config.undecodable_fraction,
            ai_new_schema_fraction: config.ai_new_schema_fraction,
        }
    }

    fn mix(&self, stream: Stream, sequence: u64) -> Mix {
        Mix::of(&[self.org.seed, KEY_EVENT[stream.index()], sequence])
    }

    pub(crate) fn broken(&self, stream: Stream, entry: &Entry) -> Option<Broken> {
        let What::Generated(sequence, slot) = entry.what else {
            return None;
        };
        if self.undecodable_fraction <= 0.0 || slot.scripted().is_some() {
            return None;
        }
        let mut mix = Mix::of(&[self.org.seed, KEY_BROKEN, stream.index() as u64, sequence]);
        let kinds = [Broken::NoId, Broken::NullId, Broken::NoTime, Broken::WordAsTime];
        mix.chance(self.undecodable_fraction).then(|| *mix.pick(&kinds))
    }

    /// Appends the event's bytes.
    pub(crate) fn put(&self, stream: Stream, entry: &Entry, out: &mut Vec<u8>) {
        let broken = self.broken(stream, entry);
        match (&entry.what, stream) {
            (What::Injected(event), _) => out.extend_from_slice(&event.raw),
            (What::Generated(sequence, slot), Stream::Audit) => self.put_audit(*sequence, *slot, entry.key, broken, out),
            (What::Generated(sequence, _), Stream::Content) => self.put_content(*sequence, entry.key, broken, out),
            (What::Generated(sequence, _), Stream::Ai) => self.put_ai(*sequence, entry.key, broken, out),
        }
    }

    /// The id that stands in the event's bytes, if one does.
    pub(crate) fn id(&self, stream: Stream, entry: &Entry) -> Option<String> {
        if let Some(Broken::NoId | Broken::NullId) = self.broken(stream, entry) {
            return None;
        }
        let mut out = Vec::new();
        match (&entry.what, stream) {
            (What::Injected(event), _) => return event.id.clone(),
            (What::Generated(..), Stream::Audit) => put_audit_id(&mut out, entry.key),
            (What::Generated(sequence, _), _) => json::put_uuid(&mut out, &mut self.mix(stream, *sequence)),
        }
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    /// Whom and which board a generated content or AI entry is about.
    pub(crate) fn about(&self, stream: Stream, sequence: u64) -> About {
        let mut mix = self.mix(stream, sequence);
        // The id is drawn first.
        let _ = (mix.next(), mix.next());
        self.draw_about(stream, &mut mix)
    }

    fn draw_about(&self, stream: Stream, mix: &mut Mix) -> About {
        let person = mix.skewed(self.org.actors);
        let board = mix.skewed(self.org.boards.len());
        let of_organization = stream == Stream::Ai && mix.chance(0.15);
        About { person, board: (!of_organization).then_some(board) }
    }
}

/// `<instant in microseconds>#<19 digits>-DDB`: id and cursor of audit events.
pub(crate) fn put_audit_id(out: &mut Vec<u8>, key: Key) {
    json::put_micros_z(out, key.at_us);
    out.push(b'#');
    json::put_u64(out, key.number);
    out.extend_from_slice(b"-DDB");
}

/// `"id":…,` of a content or AI entry; draws the id in any case.
fn put_uuid_member(out: &mut Vec<u8>, mix: &mut Mix, broken: Option<Broken>) {
    let mut id = Vec::with_capacity(36);
    json::put_uuid(&mut id, mix);
    match broken {
        Some(Broken::NoId) => {}
        Some(Broken::NullId) => out.extend_from_slice(b"\"id\":null,"),
        _ => {
            out.extend_from_slice(b"\"id\":\"");
            out.extend_from_slice(&id);
            out.extend_from_slice(b"\",");
        }
    }
}

/// `"<name>":"<time>",` in whole seconds.
fn put_time_member(out: &mut Vec<u8>, name: &str, at_us: i64, broken: Option<Broken>) {
    match broken {
        Some(Broken::NoTime) => {}
        Some(Broken::WordAsTime) => out.extend_from_slice(format!("\"{name}\":\"yesterday\",").as_bytes()),
        _ => {
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            json::put_seconds_z(out, at_us);
            out.extend_from_slice(b"\",");
        }
    }
}

#[cfg(test)]
mod tests;
