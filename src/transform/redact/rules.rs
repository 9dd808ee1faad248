//! The rules of one stream, as a tree that is walked along with an event: one node for each step of a pointer.

use crate::config::pointer::{Pointer, Segment};

/// What becomes of a value. Of several rules about one value the first of these counts: what the operator wrote goes before what a
/// preset says, and the stricter before the milder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Left out, with its name.
    Drop,
    /// Replaced by the constant.
    Mask,
    /// Replaced by its pseudonym.
    Hash,
    /// Stays as it is, with everything below.
    Keep,
    /// A preset replaces it by the constant.
    PresetMask,
    /// A preset replaces it by its pseudonym.
    PresetHash,
    /// A preset that takes everything around it leaves this, if it is one value and no more.
    PresetKeep,
}

/// The number of a node.
pub(super) type NodeId = usize;

/// Where the walk begins.
pub(super) const ROOT: NodeId = 0;

/// One step.
#[derive(Debug, Default)]
pub(super) struct Node {
    names: Vec<(Box<[u8]>, NodeId)>,
    any: Option<NodeId>,
    /// The node that stands for any number of steps from here.
    deep: Option<NodeId>,
    /// Whether this is such a node: it stays where it is at every step.
    is_deep: bool,
    pub(super) effect: Option<Effect>,
    /// Whether something is kept at this node or below it.
    pub(super) keeps: bool,
    /// Whether everything below is replaced that is not kept.
    pub(super) closed: bool,
    /// Whether a text that holds no JSON is replaced here: it may say anything.
    pub(super) text_is_masked: bool,
}

/// The name of a member, or the number of an element.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Name(&'a [u8]),
    Index(usize),
}

/// The tree.
#[derive(Debug)]
pub(super) struct Rules {
    nodes: Vec<Node>,
}

impl Rules {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Whether nothing would ever change.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && !self.nodes[ROOT].closed
    }

    /// Whether all that it says is what to keep.
    pub(super) fn does_nothing(&self) -> bool {
        let changes = |node: &Node| {
            node.closed || node.text_is_masked || node.effect.is_some_and(|effect| !matches!(effect, Effect::Keep | Effect::PresetKeep))
        };
        !self.nodes.iter().any(changes)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Adds a rule.
    pub(super) fn add(&mut self, pointer: &Pointer, effect: Effect) {
        let is_kept = matches!(effect, Effect::Keep | Effect::PresetKeep);
        let at = self.descend(pointer.segments(), is_kept);
        let node = &mut self.nodes[at];
        node.effect = Some(node.effect.map_or(effect, |known| known.min(effect)));
    }

    /// Takes everything below those steps, but for what is kept. No steps are the whole event.
    pub(super) fn close(&mut self, segments: &[Segment]) {
        let at = self.descend(segments, false);
        self.nodes[at].closed = true;
        self.nodes[at].text_is_masked = at != ROOT;
    }

    /// Replaces a text there that holds no JSON.
    pub(super) fn mask_text(&mut self, segments: &[Segment]) {
        let at = self.descend(segments, false);
        self.nodes[at].text_is_masked = true;
    }

    fn descend(&mut self, segments: &[Segment], is_kept: bool) -> NodeId {
        let mut at = ROOT;
        for segment in segments {
            self.nodes[at].keeps |= is_kept;
            // Two wildcards for any depth in a row say no more than one.
            if !(*segment == Segment::Deep && self.nodes[at].is_deep) {
                at = self.child(at, segment);
            }
        }
        self.nodes[at].keeps |= is_kept;
        at
    }

    fn child(&mut self, at: NodeId, segment: &Segment) -> NodeId {
        let node = &self.nodes[at];
        let known = match segment {
            Segment::Name(name) => node.named(name.as_bytes()),
            Segment::Any => node.any,
            Segment::Deep => node.deep,
        };
        known.unwrap_or_else(|| {
            let new = self.nodes.len();
            self.nodes.push(Node { is_deep: *segment == Segment::Deep, ..Node::default() });
            let node = &mut self.nodes[at];
            match segment {
                Segment::Name(name) => node.names.push((name.as_bytes().into(), new)),
                Segment::Any => node.any = Some(new),
                Segment::Deep => node.deep = Some(new),
            }
            new
        })
    }

    /// Adds the nodes at which a walk begins.
    pub(super) fn begin(&self, found: &mut Vec<NodeId>) {
        self.enter(ROOT, found.len(), found);
    }

    /// Adds the nodes that one step leads to from the node `at`, each once among those from `since` on.
    pub(super) fn step(&self, at: NodeId, step: Step<'_>, since: usize, found: &mut Vec<NodeId>) {
        let node = &self.nodes[at];
        if node.is_deep {
            self.enter(at, since, found);
        }
        let named = match step {
            Step::Name(name) => node.named(name),
            Step::Index(_) if node.names.is_empty() => None,
            Step::Index(index) => node.named(index.to_string().as_bytes()),
        };
        named.into_iter().chain(node.any).for_each(|next| self.enter(next, since, found));
    }

    fn enter(&self, at: NodeId, since: usize, found: &mut Vec<NodeId>) {
        for node in std::iter::once(at).chain(self.nodes[at].deep) {
            if !found[since..].contains(&node) {
                found.push(node);
            }
        }
    }
}

impl Node {
    fn named(&self, name: &[u8]) -> Option<NodeId> {
        self.names.iter().find(|(known, _)| **known == *name).map(|(_, node)| *node)
    }
}
