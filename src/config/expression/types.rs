//! What is known of a value before it is there, and the functions with what they take and give.

use cel::common::ast::operators;

/// The type of an expression as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whatever the event holds.
    Any,
    Bool,
    Number,
    Text,
    Bytes,
    List,
    Map,
    Null,
    /// The name of a type.
    Type,
}

impl Kind {
    /// In words that read after "is".
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::Any => "a value of the event",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Bytes => "bytes",
            Self::List => "a list",
            Self::Map => "a map",
            Self::Null => "null",
            Self::Type => "the name of a type",
        }
    }

    /// Whether a value of this type may be one of that.
    pub(super) fn may_be(self, other: Self) -> bool {
        self == other || self == Self::Any || other == Self::Any
    }

    /// Whether a value of this type may be one of those.
    pub(super) fn may_be_any(self, others: &[Self]) -> bool {
        others.iter().any(|other| self.may_be(*other))
    }
}

/// Names of types that an expression may compare `type(…)` with.
pub(super) const TYPE_NAMES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// A function: how it is called, what it takes and what it gives.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// What may stand before the point; empty for a function that stands alone.
    pub(super) targets: &'static [Kind],
    /// For each argument what it may be.
    pub(super) arguments: &'static [&'static [Kind]],
    pub(super) gives: Kind,
}

const TEXT: &[Kind] = &[Kind::Text];
const ANY: &[Kind] = &[Kind::Any];
const SIZED: &[Kind] = &[Kind::Text, Kind::Bytes, Kind::List, Kind::Map];

/// The functions of CEL's standard library, but for its times.
pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "size", targets: &[], arguments: &[SIZED], gives: Kind::Number },
    Function { name: "size", targets: SIZED, arguments: &[], gives: Kind::Number },
    Function { name: "contains", targets: TEXT, arguments: &[TEXT], gives: Kind::Bool },
    Function { name: "startsWith", targets: TEXT, arguments: &[TEXT], gives: Kind::Bool },
    Function { name: "endsWith", targets: TEXT, arguments: &[TEXT], gives: Kind::Bool },
    Function { name: "matches", targets: TEXT, arguments: &[TEXT], gives: Kind::Bool },
    Function { name: "matches", targets: &[], arguments: &[TEXT, TEXT], gives: Kind::Bool },
    Function { name: "string", targets: &[], arguments: &[ANY], gives: Kind::Text },
    Function { name: "int", targets: &[], arguments: &[ANY], gives: Kind::Number },
    Function { name: "uint", targets: &[], arguments: &[ANY], gives: Kind::Number },
    Function { name: "double", targets: &[], arguments: &[ANY], gives: Kind::Number },
    Function { name: "bool", targets: &[], arguments: &[ANY], gives: Kind::Bool },
    Function { name: "bytes", targets: &[], arguments: &[ANY], gives: Kind::Bytes },
    Function { name: "type", targets: &[], arguments: &[ANY], gives: Kind::Type },
    Function { name: "dyn", targets: &[], arguments: &[ANY], gives: Kind::Any },
    Function { name: "hasValue", targets: ANY, arguments: &[], gives: Kind::Bool },
    Function { name: "value", targets: ANY, arguments: &[], gives: Kind::Any },
    Function { name: "orValue", targets: ANY, arguments: &[ANY], gives: Kind::Any },
];

/// How an operator is spelled.
pub(super) fn spelled(operator: &str) -> &str {
    match operator {
        operators::LOGICAL_AND => "&&",
        operators::LOGICAL_OR => "||",
        operators::LOGICAL_NOT => "!",
        operators::NEGATE => "-",
        operators::IN => "in",
        _ => operator.trim_matches('_'),
    }
}
