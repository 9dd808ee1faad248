//! What of an event the lists of a filter are about.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::{mapping, members::Members, names};
use crate::event::StreamKind;

/// What a pair of lists is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Event,
    Category,
    Actor,
    Board,
    Team,
}

/// What an event says about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Events of this stream never say it.
    Foreign,
    /// This one does not.
    Nothing,
    /// Something stands there that cannot be read.
    Unreadable,
    /// These: ids, names, addresses.
    Texts(Vec<Cow<'a, str>>),
}

impl Attribute {
    /// Looks for it in an event of a stream of that kind.
    pub(super) fn of<'a>(self, kind: StreamKind, members: &Members<'a>) -> Found<'a> {
        match (self, kind) {
            (Self::Event, _) => match names::of_members(kind, members) {
                names if names.is_empty() => Found::Unreadable,
                names => Found::Texts(names),
            },
            (Self::Category, StreamKind::Audit) => texts(members, &["category"]),
            (Self::Category, StreamKind::Content) => texts(members, &["itemType"]),
            (Self::Category, StreamKind::Ai) => texts(members, &["surface", "aiFeatureName"]),
            (Self::Actor, StreamKind::Audit) => inside(members, &["createdBy"], &["id", "email"]),
            (Self::Actor, StreamKind::Content | StreamKind::Ai) => inside(members, &["actor"], &["id", "email"]),
            (Self::Board, StreamKind::Audit) => board_of_audit(kind, members),
            (Self::Board, StreamKind::Content) => texts(members, &["contentId"]),
            (Self::Board, StreamKind::Ai) => board_of_ai(members),
            (Self::Team, StreamKind::Audit) => inside(members, &["context", "team"], &["id", "name"]),
            (Self::Team, StreamKind::Content | StreamKind::Ai) | (_, StreamKind::Licenses | StreamKind::Forwarder) => Found::Foreign,
        }
    }
}

/// Audit logs do not say what kind of thing the object is: the event's name does.
fn board_of_audit<'a>(kind: StreamKind, members: &Members<'a>) -> Found<'a> {
    match names::of_members(kind, members).first() {
        Some(name) if mapping::is_about_a_board(name) => inside(members, &["object"], &["id", "name"]),
        Some(_) => Found::Nothing,
        None => Found::Unreadable,
    }
}

/// The object of an AI interaction is a board unless it says that it is something else.
fn board_of_ai<'a>(members: &Members<'a>) -> Found<'a> {
    match inside(members, &["object"], &["type"]) {
        Found::Texts(types) if types.first().is_some_and(|kind| kind != "board") => Found::Nothing,
        Found::Unreadable => Found::Unreadable,
        _ => inside(members, &["object"], &["id", "name"]),
    }
}

/// The texts of the object at the end of that path.
fn inside<'a>(members: &Members<'a>, path: &[&str], names: &[&str]) -> Found<'a> {
    let Some((first, rest)) = path.split_first() else { return texts(members, names) };
    match the_one(members, first) {
        Ok(None) => Found::Nothing,
        Ok(Some(value)) if value.get().starts_with('{') => inside(&Members::of(value.get().as_bytes()), rest, names),
        Ok(Some(_)) | Err(Doubled) => Found::Unreadable,
    }
}

/// Those of the members that are there; one that cannot be read makes the whole unreadable.
fn texts<'a>(members: &Members<'a>, names: &[&str]) -> Found<'a> {
    let mut found = Vec::new();
    for name in names {
        match the_one(members, name) {
            Ok(None) => {}
            Ok(Some(_)) => match members.text(name) {
                Some(text) => found.push(text),
                None => return Found::Unreadable,
            },
            Err(Doubled) => return Found::Unreadable,
        }
    }
    if found.is_empty() { Found::Nothing } else { Found::Texts(found) }
}

/// A member stands twice, and nobody can say which counts.
struct Doubled;

/// The only member of that name, unless it is null.
fn the_one<'a>(members: &Members<'a>, name: &str) -> Result<Option<&'a RawValue>, Doubled> {
    let mut named = members.0.iter().filter(|(member, _)| member == name).map(|(_, value)| *value);
    match (named.next(), named.next()) {
        (_, Some(_)) => Err(Doubled),
        (found, None) => Ok(found.filter(|value| value.get() != "null")),
    }
}
