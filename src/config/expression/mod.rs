//! `filter.cel`: an expression of the Common Expression Language (cel.dev) that says whether a sink takes an event.
//!
//! Here it is compiled and checked, so that what is wrong is told with its position before anything runs: grammar, unknown variables
//! and functions, and types as far as they are known. What an event holds is not known; it is judged when the event is there.
//!
//! # How evaluation is bounded
//!
//! An expression has at most 4 096 characters and is nested at most 24 levels deep. A macro (`all`, `exists`, `exists_one`, `map`, `filter`) stands in no other
//! macro and does not name `event` in its own expression, and a regular expression is written out and looked at here. So evaluation
//! takes time in proportion to the size of the event and the length of the expression, whatever the event holds.

use std::{fmt, sync::Arc};

use cel::{Env, Program};
use thiserror::Error;

mod check;
mod types;

/// Long enough for a list of some hundred names.
const CHARS_MAX: usize = 4_096;
/// Brackets and signs that may open a level of nesting: the parser calls itself for each, several times over.
const OPENINGS_MAX: usize = 512;
/// What those levels take at most, and more. It is only reserved: memory is used as far as the nesting goes.
const STACK_BYTES: usize = 512 << 20;

/// The variables of an expression.
pub(crate) const EVENT: &str = "event";
pub(crate) const STREAM: &str = "stream";
pub(crate) const ORG: &str = "org";
pub(crate) const LATE: &str = "late";
pub(crate) const BACKFILL: &str = "backfill";

/// A checked expression.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    compiled: Arc<Compiled>,
}

struct Compiled {
    program: Program,
    env: Arc<Env>,
}

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}, column {column}: {message}")]
pub struct ExpressionError {
    /// Counted from 1.
    line: usize,
    /// In characters, counted from 1.
    column: usize,
    message: String,
}

impl Expression {
    /// Compiles and checks what was written.
    pub fn parse(source: &str) -> Result<Self, ExpressionError> {
        let (chars, openings) = (source.chars().count(), source.matches(['(', '[', '{', '!', '-', '?']).count());
        if chars > CHARS_MAX {
            return Err(ExpressionError::as_a_whole(format!("an expression has at most {CHARS_MAX} characters; this one has {chars}")));
        }
        if openings > OPENINGS_MAX {
            let message = format!("an expression has at most {OPENINGS_MAX} of the signs ( [ {{ ! - ?; this one has {openings}");
            return Err(ExpressionError::as_a_whole(message));
        }
        // On a stack of its own, because the parser's depth is not ours to limit.
        let compiled = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || Self::compile(source));
            thread.ok().and_then(|thread| thread.join().ok())
        });
        compiled.unwrap_or_else(|| Err(ExpressionError::as_a_whole("it could not be compiled".to_owned())))
    }

    fn compile(source: &str) -> Result<Self, ExpressionError> {
        let env = Env::stdlib();
        let program = env.compile(source).map_err(|errors| first_of(&errors))?;
        check::check(&program).map_err(|fault| fault.at(source, program.source_info()))?;
        Ok(Self { source: Arc::from(source), compiled: Arc::new(Compiled { program, env: Arc::new(env) }) })
    }

    /// The compiled form.
    pub(crate) fn program(&self) -> &Program {
        &self.compiled.program
    }

    /// What its functions are.
    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.compiled.env
    }
}

impl ExpressionError {
    fn as_a_whole(message: String) -> Self {
        Self { line: 1, column: 1, message }
    }
}

/// The parser goes on after a fault; what it finds then is mostly due to the first one.
fn first_of(errors: &cel::ParseErrors) -> ExpressionError {
    let position = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    let first = errors.errors.iter().min_by_key(|error| error.pos);
    first.map_or_else(
        || ExpressionError::as_a_whole("is no expression".to_owned()),
        |error| {
            let message = error.msg.lines().next().unwrap_or_default().to_owned();
            ExpressionError { line: position(error.pos.0), column: position(error.pos.1), message }
        },
    )
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

/// Two expressions are the same when they are written the same.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Expression {}

#[cfg(test)]
mod tests;
