//! Types of values: what is meant, and how it is read from what was written.

use serde_json::{Value as Json, json};

use super::{
    key::Keys,
    node::{Kind, Node},
    problem::Faulty,
    settings::{IndexerAck, Provenance, QuotaShare},
    table::At,
};

/// Longer texts are not repeated in a message: they may be a secret in the wrong place.
const ECHO_CHARS_MAX: usize = 32;

/// Something that a key can hold.
pub(super) trait Value: Sized {
    /// What is meant, in words that read after "needs".
    const MEANT: &'static str;

    /// The same in fewer words, for a table.
    const SHORT: &'static str = Self::MEANT;

    /// Reads it, or records what is wrong.
    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty>;

    /// The found value for a message, where it can be shown.
    fn found(_: &Node) -> String {
        String::new()
    }

    /// A default as it would be written in TOML.
    fn as_toml(text: &str) -> String {
        format!("{text:?}")
    }

    /// The keys of the table that it is written as.
    fn sub_keys() -> Keys {
        &[]
    }

    /// How a file spells it, as JSON Schema.
    fn form() -> Json;
}

/// Why a text is not what is meant.
pub(super) enum Unfit {
    /// It has nothing of it.
    Plainly,
    /// In words that follow what is meant and what was found.
    Because(String),
    /// In words of its own.
    Instead(String),
}

/// A value that is written as one word or number.
pub(super) trait FromText: Sized {
    /// See [`Value::MEANT`].
    const MEANT: &'static str;
    /// See [`Value::SHORT`].
    const SHORT: &'static str = Self::MEANT;
    /// Whether a wrong value may be repeated in a message.
    const SHOWN: bool = true;
    /// Whether a file spells it as text; numbers are text only in variables.
    const TEXT: bool = true;

    /// Every word that is taken, where the set of them is closed.
    const WORDS: &'static [&'static str] = &[];
    /// A regular expression that every text matches, where one tells the form.
    const PATTERN: Option<&'static str> = None;

    /// From what was written.
    fn from_text(text: &str) -> Result<Self, Unfit>;

    /// From a number; `None` where numbers are not meant.
    fn from_integer(_: i128) -> Option<Result<Self, Unfit>> {
        None
    }
}

impl<T: FromText> Value for T {
    const MEANT: &'static str = T::MEANT;
    const SHORT: &'static str = T::SHORT;

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let read = match &node.kind {
            Kind::Text(text) if T::TEXT || node.is_spelled() => Some(T::from_text(text.trim())),
            Kind::Integer(number) => T::from_integer(*number),
            _ => None,
        };
        let found = <Self as Value>::found(node);
        match read {
            Some(Ok(value)) => Ok(value),
            Some(Err(Unfit::Instead(message))) => Err(at.problem(node, message)),
            Some(Err(Unfit::Because(why))) => Err(at.problem(node, format!("needs {}{found}: {why}", T::MEANT))),
            Some(Err(Unfit::Plainly)) => Err(at.problem(node, format!("needs {}{found}", T::MEANT))),
            None => Err(at.problem(node, format!("needs {}; found {}", T::MEANT, node.describe()))),
        }
    }

    fn found(node: &Node) -> String {
        match &node.kind {
            Kind::Text(text) if T::SHOWN && !text.is_empty() && text.chars().count() <= ECHO_CHARS_MAX => format!("; found {text:?}"),
            Kind::Integer(number) => format!("; found {number}"),
            _ => format!("; found {}", node.describe()),
        }
    }

    fn as_toml(text: &str) -> String {
        let is_number = text.parse().is_ok_and(|number| matches!(T::from_integer(number), Some(Ok(_))));
        if is_number { text.to_owned() } else { format!("{text:?}") }
    }

    fn form() -> Json {
        let takes_numbers = matches!(T::from_integer(1), Some(Ok(_)));
        match (T::TEXT, takes_numbers, T::PATTERN) {
            _ if !T::WORDS.is_empty() => json!({ "enum": T::WORDS }),
            (false, ..) => json!({ "type": "integer", "minimum": 0 }),
            (true, true, _) => json!({ "type": ["string", "integer"], "minLength": 1, "minimum": 0 }),
            (true, false, Some(pattern)) => json!({ "type": "string", "pattern": pattern }),
            (true, false, None) => json!({ "type": "string", "minLength": 1 }),
        }
    }
}

/// A list, or in a variable words with commas between them.
impl<T: FromText> Value for Vec<T> {
    const MEANT: &'static str = "a list";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let words;
        let elements = match &node.kind {
            Kind::List(elements) => elements,
            Kind::Text(text) if node.is_spelled() => {
                words = split_words(text, node);
                &words
            }
            _ => return Err(at.problem(node, format!("needs a list, each of it {}; found {}", T::MEANT, node.describe()))),
        };
        // Every element is read before the first fault counts, so that all of them are told.
        let read: Vec<_> = elements.iter().enumerate().map(|(index, element)| T::read(&at.element(index), element)).collect();
        read.into_iter().collect()
    }

    fn found(node: &Node) -> String {
        match &node.kind {
            Kind::List(elements) if elements.is_empty() => "; found an empty list".to_owned(),
            _ => format!("; found {}", node.describe()),
        }
    }

    fn as_toml(text: &str) -> String {
        let words: Vec<String> = text.split(',').filter(|word| !word.is_empty()).map(|word| format!("{word:?}")).collect();
        format!("[{}]", words.join(", "))
    }

    fn form() -> Json {
        json!({ "type": "array", "items": <T as Value>::form() })
    }
}

fn split_words(text: &str, node: &Node) -> Vec<Node> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| Node { kind: Kind::Text(word.to_owned()), origin: node.origin.clone() }).collect()
}

impl Value for bool {
    const MEANT: &'static str = "true or false";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        switch(node).ok_or_else(|| at.problem(node, format!("needs true or false, without quotes; found {}", node.describe())))
    }

    fn as_toml(text: &str) -> String {
        text.to_owned()
    }

    fn form() -> Json {
        json!({ "type": "boolean" })
    }
}

/// A switch as written in a file, or as spelled in a variable.
pub(super) fn switch(node: &Node) -> Option<bool> {
    match &node.kind {
        Kind::Switch(switch) => Some(*switch),
        Kind::Text(text) if node.is_spelled() => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

impl Value for QuotaShare {
    const MEANT: &'static str = "a fraction above 0 and at most 1, such as 0.5";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let fraction = match &node.kind {
            Kind::Float(fraction) => Some(*fraction),
            Kind::Integer(number) => Some(*number as f64),
            Kind::Text(text) if node.is_spelled() => text.trim().parse().ok(),
            _ => None,
        };
        let refused = || at.problem(node, format!("needs {}{}", Self::MEANT, Self::found(node)));
        fraction.and_then(Self::new).ok_or_else(refused)
    }

    fn found(node: &Node) -> String {
        match &node.kind {
            Kind::Float(number) => format!("; found {number}"),
            Kind::Integer(number) => format!("; found {number}"),
            _ => format!("; found {}", node.describe()),
        }
    }

    fn as_toml(text: &str) -> String {
        text.to_owned()
    }

    fn form() -> Json {
        json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 })
    }
}

impl Value for IndexerAck {
    const MEANT: &'static str = bool::MEANT;

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        bool::read(at, node).map(|on| if on { Self::On } else { Self::Off })
    }

    fn as_toml(text: &str) -> String {
        text.to_owned()
    }

    fn form() -> Json {
        json!({ "type": "boolean" })
    }
}

impl Value for Provenance {
    const MEANT: &'static str = bool::MEANT;

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        bool::read(at, node).map(|on| if on { Self::On } else { Self::Off })
    }

    fn as_toml(text: &str) -> String {
        text.to_owned()
    }

    fn form() -> Json {
        json!({ "type": "boolean" })
    }
}
