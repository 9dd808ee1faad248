//! Walks an event along with the rules and notes what stands where instead.

use std::ops::Range;

use serde_json::value::RawValue;

use super::{
    json::{skip_space, skip_text, skip_value, splice_text, text_of},
    pseudonym::Pseudonyms,
    rules::{Effect, NodeId, Rules, Step},
};

/// Nobody nests that deep on purpose. What is deeper is replaced where a rule may reach below it.
const DEPTH_MAX: usize = 100;
/// How many texts that hold JSON may be in each other.
const EMBEDDED_MAX: usize = 4;

/// What masked values become.
pub(super) const MASKED: &[u8] = br#""[redacted]""#;

/// A part of the text that is being walked, and what stands there instead.
struct Edit {
    part: Range<usize>,
    /// A range of `written`.
    by: Range<usize>,
}

/// The buffers of a walk; used again for the next event.
#[derive(Default)]
pub(super) struct Walk {
    /// The rules that are under way, one stretch for each container around.
    nodes: Vec<NodeId>,
    edits: Vec<Edit>,
    written: Vec<u8>,
}

/// Where a walk is.
#[derive(Clone)]
struct Place {
    /// The rules that have come this far: a stretch of `nodes`.
    nodes: Range<usize>,
    /// Whether everything is replaced that is not kept.
    closed: bool,
    /// How deep it is nested.
    depth: usize,
    /// How many texts it is inside of.
    embedded: usize,
}

/// What is walked in a container.
#[derive(Clone, Copy)]
enum Position {
    Member,
    /// The element of that number.
    Element(usize),
}

/// What becomes of a value.
enum Decision {
    Copy,
    Drop,
    Mask,
    Hash,
    /// It is an object or an array with something to do in it.
    Descend,
    /// It is a text that holds JSON with something to do in it.
    DescendText(Vec<u8>),
}

/// One walk over one text.
pub(super) struct Walker<'w> {
    pub(super) rules: &'w Rules,
    pub(super) pseudonyms: Option<&'w Pseudonyms>,
    pub(super) walk: &'w mut Walk,
}

impl Walker<'_> {
    /// The object with the rules applied; `None` if nothing changes.
    pub(super) fn object(mut self, json: &[u8]) -> Option<Vec<u8>> {
        self.walk.nodes.clear();
        self.walk.edits.clear();
        self.walk.written.clear();
        self.rules.begin(&mut self.walk.nodes);
        let place = Place { nodes: 0..self.walk.nodes.len(), closed: false, depth: 0, embedded: 0 };
        self.container(json, skip_space(json, 0), place);
        if self.walk.edits.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(json.len());
        let mut at = 0;
        for edit in &self.walk.edits {
            out.extend_from_slice(&json[at..edit.part.start]);
            out.extend_from_slice(&self.walk.written[edit.by.clone()]);
            at = edit.part.end;
        }
        out.extend_from_slice(&json[at..]);
        Some(out)
    }

    /// Walks the members or elements of what begins at `at`, and returns where it ends.
    fn container(&mut self, json: &[u8], at: usize, mut place: Place) -> usize {
        place.closed |= self.any(&place.nodes, |node| node.closed);
        place.depth += 1;
        let is_object = json[at] == b'{';
        let mut at = skip_space(json, at + 1);
        let mut removal = Removal::default();
        let mut index = 0;
        while let Some(byte) = json.get(at) {
            match byte {
                b'}' | b']' => {
                    if let Some(part) = removal.at_end() {
                        self.remove(part);
                    }
                    return at + 1;
                }
                b',' => at = skip_space(json, at + 1),
                _ => {
                    let position = if is_object { Position::Member } else { Position::Element(index) };
                    at = self.member(json, at, position, &place, &mut removal);
                    at = skip_space(json, at);
                    index += 1;
                }
            }
        }
        at
    }

    /// Walks one member, or the element of that number.
    fn member(&mut self, json: &[u8], start: usize, position: Position, around: &Place, removal: &mut Removal) -> usize {
        let since = self.walk.nodes.len();
        let (value, is_id) = match position {
            Position::Member => {
                let end = skip_text(json, start);
                let name = text_of(&json[start..end]);
                self.step(around, Step::Name(&name), since);
                (skip_space(json, skip_space(json, end) + 1), around.depth == 1 && around.embedded == 0 && *name == *b"id")
            }
            Position::Element(index) => {
                self.step(around, Step::Index(index), since);
                (start, false)
            }
        };
        let place = Place { nodes: since..self.walk.nodes.len(), ..around.clone() };
        // Receivers drop repeats by the id; a wildcard does not mean it.
        let is_kept = is_id && is_one_value(json, value);
        let decision = if is_kept { Decision::Copy } else { self.decide(json, value, &place) };
        if let Some(part) = removal.next(start, matches!(decision, Decision::Drop)) {
            self.remove(part);
        }
        let end = self.act(json, value, decision, place);
        if let Some(part) = removal.ended(end) {
            self.remove(part);
        }
        self.walk.nodes.truncate(since);
        end
    }

    fn step(&mut self, around: &Place, step: Step<'_>, since: usize) {
        for at in around.nodes.clone() {
            self.rules.step(self.walk.nodes[at], step, since, &mut self.walk.nodes);
        }
    }

    fn any(&self, nodes: &Range<usize>, is: impl Fn(&super::rules::Node) -> bool) -> bool {
        self.walk.nodes[nodes.clone()].iter().any(|node| is(self.rules.node(*node)))
    }

    fn decide(&self, json: &[u8], at: usize, place: &Place) -> Decision {
        let first = json[at];
        let effect = self.walk.nodes[place.nodes.clone()].iter().filter_map(|node| self.rules.node(*node).effect).min();
        match effect {
            Some(Effect::Drop) => return Decision::Drop,
            // Nothing is told by what is not there, and its place is kept.
            Some(_) if first == b'n' => return Decision::Copy,
            Some(Effect::Mask | Effect::PresetMask) => return Decision::Mask,
            Some(Effect::Hash | Effect::PresetHash) => return Decision::Hash,
            Some(Effect::Keep) => return Decision::Copy,
            // What should be one value and is more is not what it was listed for.
            Some(Effect::PresetKeep) => return if is_one_value(json, at) { Decision::Copy } else { Decision::Mask },
            None => {}
        }
        let ends_here = place.nodes.is_empty() || (place.closed && !self.any(&place.nodes, |node| node.keeps));
        match first {
            b'{' | b'[' if ends_here => if_closed(place.closed),
            b'{' | b'[' if place.depth >= DEPTH_MAX => Decision::Mask,
            b'{' | b'[' => Decision::Descend,
            b'"' => self.decide_text(json, at, place, ends_here),
            // Numbers and truth values say nothing that a person wrote.
            _ => Decision::Copy,
        }
    }

    fn decide_text(&self, json: &[u8], at: usize, place: &Place, ends_here: bool) -> Decision {
        if ends_here {
            return if_closed(place.closed);
        }
        if !may_hold_json(&json[at + 1..]) && !place.closed {
            return if_closed(self.any(&place.nodes, |node| node.closed || node.text_is_masked));
        }
        let is_masked = place.closed || self.any(&place.nodes, |node| node.closed || node.text_is_masked);
        let text = text_of(&json[at..skip_text(json, at)]);
        match Embedded::of(&text) {
            Embedded::None => if_closed(is_masked),
            Embedded::Broken => Decision::Mask,
            Embedded::Json if place.embedded >= EMBEDDED_MAX || place.depth >= DEPTH_MAX => Decision::Mask,
            Embedded::Json => Decision::DescendText(text.into_owned()),
        }
    }

    /// Does what was decided, and returns where the value ends.
    fn act(&mut self, json: &[u8], at: usize, decision: Decision, place: Place) -> usize {
        let end = || skip_value(json, at);
        match decision {
            Decision::Copy | Decision::Drop => end(),
            Decision::Mask => self.replace(at..end(), |out| out.extend_from_slice(MASKED)),
            Decision::Hash => self.hash(json, at..end()),
            Decision::Descend => self.container(json, at, place),
            Decision::DescendText(text) => self.embedded(json, at..end(), &text, place),
        }
    }

    fn hash(&mut self, json: &[u8], part: Range<usize>) -> usize {
        // A rule that hashes is only made with a key.
        let Some(pseudonyms) = self.pseudonyms else { return self.replace(part, |out| out.extend_from_slice(MASKED)) };
        let value = &json[part.clone()];
        if value[0] == b'"' {
            self.replace(part, |out| pseudonyms.push(&text_of(value), out))
        } else {
            self.replace(part, |out| pseudonyms.push(value, out))
        }
    }

    /// Walks the JSON in a text, and replaces the text if something in it changes.
    fn embedded(&mut self, json: &[u8], part: Range<usize>, text: &[u8], mut place: Place) -> usize {
        let since = self.walk.edits.len();
        place.embedded += 1;
        let at = skip_space(text, 0);
        match text[at] {
            b'{' | b'[' => drop(self.container(text, at, place)),
            _ => {
                place.closed |= self.any(&place.nodes, |node| node.closed || node.text_is_masked);
                let decision = self.decide(text, at, &place);
                self.act(text, at, decision, place);
            }
        }
        if self.walk.edits.len() == since {
            return part.end;
        }
        let mut literal = Vec::with_capacity(part.len());
        let parts = self.walk.edits[since..].iter().map(|edit| (edit.part.clone(), &self.walk.written[edit.by.clone()]));
        splice_text(&json[part.clone()], parts, &mut literal);
        self.walk.edits.truncate(since);
        self.replace(part, |out| out.extend_from_slice(&literal))
    }

    fn replace(&mut self, part: Range<usize>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let (end, since) = (part.end, self.walk.written.len());
        write(&mut self.walk.written);
        self.walk.edits.push(Edit { part, by: since..self.walk.written.len() });
        end
    }

    fn remove(&mut self, part: Range<usize>) {
        self.replace(part, |_| {});
    }
}

fn if_closed(closed: bool) -> Decision {
    if closed { Decision::Mask } else { Decision::Copy }
}

/// Which bytes go with the members that are dropped, so that the commas between the others are right.
#[derive(Default)]
struct Removal {
    /// Where the newest member ended, once one has been kept.
    kept_until: Option<usize>,
    /// Where the first of those began that are dropped before any is kept, and where the newest of them ended.
    leading: Option<Range<usize>>,
    is_dropping: bool,
}

impl Removal {
    /// The next member begins; what to remove before anything in it changes.
    fn next(&mut self, start: usize, is_dropped: bool) -> Option<Range<usize>> {
        self.is_dropping = is_dropped;
        match (is_dropped, self.kept_until) {
            (true, None) => {
                self.leading.get_or_insert(start..start);
                None
            }
            (false, None) => self.leading.take().map(|leading| leading.start..start),
            _ => None,
        }
    }

    /// The member has ended; what to remove with it.
    fn ended(&mut self, end: usize) -> Option<Range<usize>> {
        match (self.is_dropping, self.kept_until, &mut self.leading) {
            (true, None, Some(leading)) => {
                leading.end = end;
                None
            }
            (true, Some(before), _) => {
                self.kept_until = Some(end);
                Some(before..end)
            }
            _ => {
                self.kept_until = Some(end);
                None
            }
        }
    }

    /// What to remove where every member was dropped.
    fn at_end(&mut self) -> Option<Range<usize>> {
        self.leading.take()
    }
}

/// Whether the text that is spelled so may, without reading it: what matters at its beginning may be escaped.
fn may_hold_json(spelled: &[u8]) -> bool {
    matches!(spelled.get(skip_space(spelled, 0)), Some(b'{' | b'[' | b'\\'))
}

/// Whether it is neither an object or an array nor a text that holds one.
fn is_one_value(json: &[u8], at: usize) -> bool {
    match json[at] {
        b'{' | b'[' => false,
        b'"' => {
            let text = text_of(&json[at..skip_text(json, at)]);
            // A text in quotes of its own may be a text; with a bracket in it, it may be more.
            matches!(Embedded::of(&text), Embedded::None) || memchr::memchr2(b'{', b'[', &text).is_none()
        }
        _ => true,
    }
}

/// Whether a text holds JSON.
enum Embedded {
    None,
    Json,
    /// It begins as JSON does, and is not: cut off, for instance. Nobody can say where in it something is.
    Broken,
}

impl Embedded {
    fn of(text: &[u8]) -> Self {
        let at = skip_space(text, 0);
        match text.get(at) {
            Some(b'{' | b'[' | b'"') if serde_json::from_slice::<&RawValue>(text).is_ok() => Self::Json,
            Some(first @ (b'{' | b'[')) if begins_like_json(*first, text.get(skip_space(text, at + 1))) => Self::Broken,
            _ => Self::None,
        }
    }
}

/// `[Draft] plan` is a title, `["a` is not.
fn begins_like_json(first: u8, second: Option<&u8>) -> bool {
    match (first, second) {
        (_, None | Some(b'"')) => true,
        (b'[', Some(second)) => matches!(second, b'[' | b'{'),
        _ => false,
    }
}
