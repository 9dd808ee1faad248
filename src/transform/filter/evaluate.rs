//! Asks the filter's expression about an event.

use std::{collections::HashMap, fmt, sync::Arc};

use cel::{
    Context, ExecutionError, Value,
    objects::{Key, Map},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use crate::{
    config::expression::{BACKFILL, EVENT, Expression, LATE, ORG, STREAM},
    event::{Event, Origin, StreamId},
};

/// A larger event is not asked about: what an expression may cost grows with the event.
const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Why an expression could not be asked. Free of anything that the event holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unjudged {
    /// A member that the expression names is not there.
    Missing,
    /// A value is of a type that the expression has no use for.
    Type,
    /// The event is too large to be asked about.
    TooLarge,
    /// The event is nested too deep, or holds text that is no Unicode.
    Unreadable,
    /// A number is too large, a division by zero, and the like.
    Computation,
}

impl Unjudged {
    /// In words, for a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "a member that the expression names is missing; ask for it with has(…)",
            Self::Type => "a member has a type that the expression does not fit",
            Self::TooLarge => "the event is larger than 256 KiB",
            Self::Unreadable => "the event is nested too deep, or is no text",
            Self::Computation => "the expression could not be computed",
        }
    }
}

/// An expression with what is the same for all events of a stream.
#[derive(Debug)]
pub(super) struct Evaluator {
    expression: Expression,
    stream: StreamId,
}

impl Evaluator {
    pub(super) fn new(expression: Expression, stream: &StreamId) -> Self {
        Self { expression, stream: stream.clone() }
    }

    /// Whether it is true of the event.
    pub(super) fn judge(&self, event: &Event) -> Result<bool, Unjudged> {
        if event.raw.len() > EVENT_BYTES_MAX {
            return Err(Unjudged::TooLarge);
        }
        let Parsed(parsed) = serde_json::from_slice(&event.raw).map_err(|_| Unjudged::Unreadable)?;
        let mut context = Context::with_env(Arc::clone(self.expression.env()));
        context.add_variable_from_value(EVENT, parsed);
        context.add_variable_from_value(STREAM, self.stream.kind.as_str());
        context.add_variable_from_value(ORG, self.stream.org.as_str());
        context.add_variable_from_value(LATE, event.origin == Origin::Late);
        context.add_variable_from_value(BACKFILL, event.origin == Origin::Backfill);
        match self.expression.program().execute(&context) {
            Ok(Value::Bool(is)) => Ok(is),
            Ok(_) => Err(Unjudged::Type),
            Err(error) => Err(class(&error)),
        }
    }
}

/// The error's own words may hold what the event does.
fn class(error: &ExecutionError) -> Unjudged {
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::UndeclaredReference(_) | ExecutionError::IndexOutOfBounds(_) => Unjudged::Missing,
        ExecutionError::DivisionByZero(_)
        | ExecutionError::RemainderByZero(_)
        | ExecutionError::Overflow(..)
        | ExecutionError::FunctionError { .. }
        | ExecutionError::InternalError(_) => Unjudged::Computation,
        _ => Unjudged::Type,
    }
}

/// An event as CEL sees it. Of doubled members the last counts, as in most parsers.
struct Parsed(Value);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Json)
    }
}

struct Json;

impl<'de> Visitor<'de> for Json {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed(Value::Int(value)))
    }

    /// A literal without a `u` is an `int`, so what fits one is one.
    fn visit_u64<E>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed(i64::try_from(value).map_or(Value::UInt(value), Value::Int)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Parsed, E> {
        Ok(Parsed(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Parsed, E> {
        Ok(Parsed(Value::String(Arc::new(value.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(Parsed(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(Parsed(Value::List(Arc::new(list))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Parsed, A::Error> {
        let mut map = HashMap::new();
        while let Some((name, Parsed(value))) = members.next_entry::<String, Parsed>()? {
            map.insert(Key::String(Arc::new(name)), value);
        }
        Ok(Parsed(Value::Map(Map { map: Arc::new(map) })))
    }
}
