//! Walks a parsed expression: names, types as far as they are known, and what bounds its evaluation.

use cel::{
    IdedExpr, Program,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, SourceInfo, operators},
};

use super::{
    BACKFILL, EVENT, ExpressionError, LATE, ORG, STREAM,
    types::{FUNCTIONS, Function, Kind, TYPE_NAMES, spelled},
};
use crate::config::table::nearest;

const VARIABLES: [(&str, Kind); 5] =
    [(EVENT, Kind::Any), (STREAM, Kind::Text), (ORG, Kind::Text), (LATE, Kind::Bool), (BACKFILL, Kind::Bool)];

/// What is wrong, at the part of the expression with that number.
pub(super) struct Fault {
    node: u64,
    message: String,
}

impl Fault {
    fn new(node: &IdedExpr, message: impl Into<String>) -> Self {
        Self { node: node.id, message: message.into() }
    }

    /// With the position in the text.
    pub(super) fn at(self, source: &str, places: &SourceInfo) -> ExpressionError {
        let before = places.offset_for(self.node).map_or(0, |(start, _)| start as usize);
        let (mut line, mut column) = (1, 1);
        for (_, char) in source.char_indices().take_while(|(at, _)| *at < before) {
            (line, column) = if char == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        ExpressionError { line, column, message: self.message }
    }
}

/// Evaluation calls itself for each level, on the stack of whoever delivers.
const DEPTH_MAX: usize = 24;

/// Refuses what could not be evaluated, or not within bounds.
pub(super) fn check(program: &Program) -> Result<(), Fault> {
    let root = program.expression();
    let gives = Checker { macros: Vec::new(), depth: 0 }.type_of(root)?;
    if gives.may_be(Kind::Bool) { Ok(()) } else { Err(Fault::new(root, format!("has to be true or false, and is {}", gives.described()))) }
}

/// Knows the variables of the macro that it is in.
struct Checker<'e> {
    macros: Vec<&'e str>,
    depth: usize,
}

type Typed = Result<Kind, Fault>;

impl<'e> Checker<'e> {
    fn type_of(&mut self, node: &'e IdedExpr) -> Typed {
        if self.depth >= DEPTH_MAX {
            return Err(Fault::new(node, format!("an expression is nested at most {DEPTH_MAX} levels deep")));
        }
        self.depth += 1;
        let typed = self.type_of_inside(node);
        self.depth -= 1;
        typed
    }

    fn type_of_inside(&mut self, node: &'e IdedExpr) -> Typed {
        match &node.expr {
            Expr::Literal(literal) => Ok(type_of_literal(literal)),
            Expr::Ident(name) => self.type_of_name(node, name),
            Expr::Select(select) => self.type_of_member(node, select),
            Expr::Call(call) => self.type_of_call(node, call),
            Expr::Comprehension(comprehension) => self.type_of_macro(node, comprehension),
            Expr::List(list) => self.all(&list.elements).map(|()| Kind::List),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.type_of(&entry.key)?;
                        self.type_of(&entry.value)?;
                    }
                }
                Ok(Kind::Map)
            }
            Expr::Struct(message) => Err(Fault::new(node, format!("there is no message type {:?}", message.type_name))),
            Expr::Unspecified => Err(Fault::new(node, "is no expression")),
        }
    }

    fn all(&mut self, nodes: &'e [IdedExpr]) -> Result<(), Fault> {
        nodes.iter().try_for_each(|node| self.type_of(node).map(drop))
    }

    fn type_of_name(&self, node: &IdedExpr, name: &str) -> Typed {
        if self.macros.contains(&name) {
            return Ok(Kind::Any);
        }
        if !self.macros.is_empty() && name == EVENT {
            let message = "a macro's own expression cannot name `event`: it would look through the event once for each element of the list";
            return Err(Fault::new(node, message));
        }
        if let Some((_, known)) = VARIABLES.iter().find(|(variable, _)| *variable == name) {
            return Ok(*known);
        }
        if TYPE_NAMES.contains(&name) {
            return Ok(Kind::Type);
        }
        let names = VARIABLES.map(|(name, _)| name);
        Err(Fault::new(node, format!("unknown variable {name:?}; {}", meant(name, &names, "the variables are"))))
    }

    fn type_of_member(&mut self, node: &'e IdedExpr, select: &'e SelectExpr) -> Typed {
        let of = self.type_of(&select.operand)?;
        if !of.may_be(Kind::Map) {
            return Err(Fault::new(node, format!("{} has no member {:?}", of.described(), select.field)));
        }
        Ok(if select.test { Kind::Bool } else { Kind::Any })
    }

    fn type_of_call(&mut self, node: &'e IdedExpr, call: &'e CallExpr) -> Typed {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, sides) => {
                sides.iter().try_for_each(|side| self.expect(node, call, side, &[Kind::Bool]))?;
                Ok(Kind::Bool)
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                self.alike(node, call, left, right, None)?;
                Ok(Kind::Bool)
            }
            (operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS, [left, right]) => {
                self.alike(node, call, left, right, Some(&[Kind::Number, Kind::Text, Kind::Bytes, Kind::Bool]))?;
                Ok(Kind::Bool)
            }
            (operators::ADD, [left, right]) => {
                self.alike(node, call, left, right, Some(&[Kind::Number, Kind::Text, Kind::Bytes, Kind::List]))
            }
            (operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO | operators::NEGATE, sides) => {
                sides.iter().try_for_each(|side| self.expect(node, call, side, &[Kind::Number]))?;
                Ok(Kind::Number)
            }
            (operators::IN, [left, right]) => {
                self.type_of(left)?;
                self.expect(node, call, right, &[Kind::List, Kind::Map])?;
                Ok(Kind::Bool)
            }
            (operators::CONDITIONAL, [condition, left, right]) => {
                self.expect(node, call, condition, &[Kind::Bool])?;
                let (left, right) = (self.type_of(left)?, self.type_of(right)?);
                Ok(if left == right { left } else { Kind::Any })
            }
            (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, sides) => self.all(sides).map(|()| Kind::Any),
            // Part of what the macros are made of.
            (operators::NOT_STRICTLY_FALSE, sides) => self.all(sides).map(|()| Kind::Bool),
            (name, arguments) => self.type_of_function(node, call, name, arguments),
        }
    }

    /// Both sides of an operator; what they have in common.
    fn alike(&mut self, node: &IdedExpr, call: &CallExpr, left: &'e IdedExpr, right: &'e IdedExpr, may_be: Option<&[Kind]>) -> Typed {
        let (left, right) = (self.type_of(left)?, self.type_of(right)?);
        let fits = |side: Kind| may_be.is_none_or(|may_be| side.may_be_any(may_be));
        // Anything may be compared with null.
        let is_null = may_be.is_none() && (left == Kind::Null || right == Kind::Null);
        if !fits(left) || !fits(right) || !(left.may_be(right) || is_null) {
            let operator = spelled(&call.func_name);
            return Err(Fault::new(node, format!("`{operator}` stands between {} and {}", left.described(), right.described())));
        }
        Ok(if left == Kind::Any { right } else { left })
    }

    fn expect(&mut self, node: &IdedExpr, call: &CallExpr, side: &'e IdedExpr, may_be: &[Kind]) -> Result<(), Fault> {
        let found = self.type_of(side)?;
        if found.may_be_any(may_be) {
            return Ok(());
        }
        let wanted: Vec<&str> = may_be.iter().map(|kind| kind.described()).collect();
        let message = format!("`{}` takes {}, and this is {}", spelled(&call.func_name), wanted.join(" or "), found.described());
        Err(Fault::new(if side.id == 0 { node } else { side }, message))
    }

    fn type_of_function(&mut self, node: &'e IdedExpr, call: &'e CallExpr, name: &str, arguments: &'e [IdedExpr]) -> Typed {
        let target = call.target.as_deref().map(|target| self.type_of(target)).transpose()?;
        let found: Vec<Kind> = arguments.iter().map(|argument| self.type_of(argument)).collect::<Result<_, _>>()?;
        let named: Vec<&Function> = FUNCTIONS.iter().filter(|function| function.name == name).collect();
        if named.is_empty() {
            let mut names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
            names.dedup();
            return Err(Fault::new(node, format!("unknown function {name:?}; {}", meant(name, &names, "the functions are"))));
        }
        let fits = |function: &&&Function| {
            let target_fits = match target {
                Some(target) => !function.targets.is_empty() && target.may_be_any(function.targets),
                None => function.targets.is_empty(),
            };
            let arguments_fit = function.arguments.iter().zip(&found).all(|(may_be, found)| found.may_be_any(may_be));
            target_fits && function.arguments.len() == found.len() && arguments_fit
        };
        let function = named.iter().find(fits).ok_or_else(|| {
            let said: Vec<&str> = target.iter().chain(&found).map(|kind| kind.described()).collect();
            Fault::new(
                node,
                format!("`{name}` cannot be called with {}", if said.is_empty() { "nothing".to_owned() } else { said.join(", ") }),
            )
        })?;
        if name == "matches" {
            check_pattern(node, arguments)?;
        }
        Ok(function.gives)
    }

    fn type_of_macro(&mut self, node: &'e IdedExpr, comprehension: &'e ComprehensionExpr) -> Typed {
        if !self.macros.is_empty() {
            return Err(Fault::new(
                node,
                "a macro cannot stand in another one: the time that it takes would not be bounded by the event's size",
            ));
        }
        let range = self.type_of(&comprehension.iter_range)?;
        if !range.may_be_any(&[Kind::List, Kind::Map]) {
            return Err(Fault::new(&comprehension.iter_range, format!("a macro goes through a list, and this is {}", range.described())));
        }
        let gives = self.type_of(&comprehension.accu_init)?;
        let variables = [Some(&comprehension.iter_var), comprehension.iter_var2.as_ref(), Some(&comprehension.accu_var)];
        self.macros = variables.into_iter().flatten().map(String::as_str).collect();
        let inside = [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result];
        let result = inside.into_iter().try_for_each(|part| self.type_of(part).map(drop));
        self.macros.clear();
        // `exists_one` counts, and tells whether it came to one.
        result.map(|()| if gives == Kind::Number { Kind::Bool } else { gives })
    }
}

/// A pattern that an event could supply would be compiled for each event, at any cost.
fn check_pattern(node: &IdedExpr, arguments: &[IdedExpr]) -> Result<(), Fault> {
    let Some(IdedExpr { expr: Expr::Literal(LiteralValue::String(pattern)), .. }) = arguments.last() else {
        return Err(Fault::new(node, "`matches` takes a pattern that is written out"));
    };
    match regex::Regex::new(pattern.inner()) {
        Ok(_) => Ok(()),
        Err(error) => {
            let last = error.to_string();
            let last = last.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(Fault::new(node, format!("the pattern is no regular expression: {last}")))
        }
    }
}

fn type_of_literal(literal: &LiteralValue) -> Kind {
    match literal {
        LiteralValue::Boolean(_) => Kind::Bool,
        LiteralValue::Bytes(_) => Kind::Bytes,
        LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Kind::Number,
        LiteralValue::Null => Kind::Null,
        LiteralValue::String(_) => Kind::Text,
    }
}

fn meant(name: &str, known: &[&str], otherwise: &str) -> String {
    match nearest(name, known) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("{otherwise} {}", known.join(", ")),
    }
}
