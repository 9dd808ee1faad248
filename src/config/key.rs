//! How a key is declared: once, with its type, its default and its meaning. The reader, the reference page and the example
//! configuration all come from these declarations.

use std::marker::PhantomData;

use serde_json::Value as Json;

use super::{
    node::Node,
    problem::{Faulty, Places, Report},
    table::At,
    value::Value,
};

/// A key of a table.
pub(super) struct Key<T, P> {
    pub(super) name: &'static str,
    pub(super) presence: P,
    /// What it means, in one or two sentences.
    doc: &'static str,
    /// A value as it would be written in TOML, where the default does not show one.
    example: Option<&'static str>,
    limit: Option<Limit<T>>,
    of: PhantomData<fn() -> T>,
}

/// What a value has to fulfil beyond its type.
pub(super) struct Limit<T> {
    /// In words that read after "needs to be".
    pub(super) meant: &'static str,
    pub(super) holds: fn(&T) -> bool,
}

impl<T> Clone for Limit<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Limit<T> {}

/// The key has to be there.
#[derive(Clone, Copy)]
pub(super) struct Required;

/// The key may be left out, and then this holds.
#[derive(Clone, Copy)]
pub(super) struct Optional(pub(super) &'static str);

/// The key may be left out, and then it has this value.
#[derive(Clone, Copy)]
pub(super) struct Defaulted(pub(super) &'static str);

impl<T> Key<T, Required> {
    /// A key that has to be there, with an example as TOML.
    pub(super) const fn required(name: &'static str, example: &'static str, doc: &'static str) -> Self {
        Self { name, presence: Required, doc, example: Some(example), limit: None, of: PhantomData }
    }
}

impl<T> Key<T, Optional> {
    /// A key that may be left out; `otherwise` says what holds then, `example` is TOML.
    pub(super) const fn optional(name: &'static str, example: &'static str, otherwise: &'static str, doc: &'static str) -> Self {
        Self { name, presence: Optional(otherwise), doc, example: Some(example), limit: None, of: PhantomData }
    }
}

impl<T> Key<T, Defaulted> {
    /// A key that has a value even when it is left out.
    pub(super) const fn defaulted(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self { name, presence: Defaulted(default), doc, example: None, limit: None, of: PhantomData }
    }
}

impl<T, P: Copy> Key<T, P> {
    /// The same key with a limit: `meant` reads after "needs to be".
    pub(super) const fn limited(self, meant: &'static str, holds: fn(&T) -> bool) -> Self {
        let Self { name, presence, doc, example, limit: _, of } = self;
        Self { name, presence, doc, example, limit: Some(Limit { meant, holds }), of }
    }
}

impl<T: Value, P> Key<T, P> {
    /// The value that stands there.
    pub(super) fn read(&self, at: &At<'_>, node: &Node) -> Result<T, Faulty> {
        let value = T::read(at, node)?;
        match self.limit {
            Some(limit) if !(limit.holds)(&value) => Err(at.problem(node, format!("needs to be {}{}", limit.meant, T::found(node)))),
            _ => Ok(value),
        }
    }
}

/// What happens when a key is left out.
pub(super) trait Presence: Copy {
    /// Whether the key has to be there.
    const REQUIRED: bool = false;
    /// What the reader of the key gets.
    type Out<T>;
    /// What it gets when the key is there.
    fn present<T>(value: T) -> Self::Out<T>;
    /// What it gets when it is not.
    fn absent<T: Value>(key: &Key<T, Self>, at: &At<'_>, table: &Node) -> Result<Self::Out<T>, Faulty>;
    /// The default as it would be written, and what holds without the key in words.
    fn default(self) -> (Option<&'static str>, &'static str);
}

impl Presence for Required {
    const REQUIRED: bool = true;

    type Out<T> = T;

    fn present<T>(value: T) -> T {
        value
    }

    fn absent<T: Value>(key: &Key<T, Self>, at: &At<'_>, table: &Node) -> Result<T, Faulty> {
        let example = key.example.unwrap_or_default();
        Err(at.problem(table, format!("is missing; it needs {}: {} = {example}", T::MEANT, key.name)))
    }

    fn default(self) -> (Option<&'static str>, &'static str) {
        (None, "required")
    }
}

impl Presence for Optional {
    type Out<T> = Option<T>;

    fn present<T>(value: T) -> Option<T> {
        Some(value)
    }

    fn absent<T: Value>(_: &Key<T, Self>, _: &At<'_>, _: &Node) -> Result<Option<T>, Faulty> {
        Ok(None)
    }

    fn default(self) -> (Option<&'static str>, &'static str) {
        (None, self.0)
    }
}

impl Presence for Defaulted {
    type Out<T> = T;

    fn present<T>(value: T) -> T {
        value
    }

    fn absent<T: Value>(key: &Key<T, Self>, at: &At<'_>, _: &Node) -> Result<T, Faulty> {
        key.read(at, &Node::built_in(key.presence.0))
    }

    fn default(self) -> (Option<&'static str>, &'static str) {
        (Some(self.0), "")
    }
}

/// A key without its type, for everything that only needs to know that it exists and what it means.
pub(super) trait Declared: Sync {
    /// The key's name.
    fn name(&self) -> &'static str;
    /// What it means.
    fn doc(&self) -> &'static str;
    /// Its type and its limit, in words.
    fn meant(&self) -> String;
    /// The default as written in TOML, where there is one.
    fn default(&self) -> Option<String>;
    /// What holds without the key, where that is no value.
    fn otherwise(&self) -> &'static str;
    /// A value as it would be written in TOML.
    fn example(&self) -> String;
    /// The keys of the table that it holds.
    fn sub_keys(&self) -> Keys;
    /// Whether it has to be there.
    fn is_required(&self) -> bool;
    /// The form of its values as JSON Schema, with nothing of its meaning.
    fn form(&self) -> Json;
}

/// The keys of a table.
pub(super) type Keys = &'static [&'static dyn Declared];

impl<T: Value, P: Presence + Sync> Declared for Key<T, P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn meant(&self) -> String {
        match self.limit {
            Some(limit) => format!("{}, {}", T::SHORT, limit.meant),
            None => T::SHORT.to_owned(),
        }
    }

    fn default(&self) -> Option<String> {
        self.presence.default().0.map(T::as_toml)
    }

    fn otherwise(&self) -> &'static str {
        self.presence.default().1
    }

    fn example(&self) -> String {
        self.example.map(ToOwned::to_owned).or_else(|| self.default()).unwrap_or_default()
    }

    fn sub_keys(&self) -> Keys {
        T::sub_keys()
    }

    fn is_required(&self) -> bool {
        P::REQUIRED
    }

    fn form(&self) -> Json {
        let mut form = T::form();
        // Of a closed set of words, a key may take only some.
        if let Some(Json::Array(words)) = form.get_mut("enum") {
            let report = Report::new(Places::default());
            let is_taken = |word: &str| self.read(&At::root(&report), &Node::built_in(word)).is_ok();
            words.retain(|word| word.as_str().is_some_and(is_taken));
        }
        form
    }
}
