//! Keys that fill the `Authorization` header of a request.

use crate::config::{
    Secret,
    key::{Key, Optional},
    problem::Faulty,
    settings::HttpCredential,
    table::Table,
};

pub(super) const BEARER_TOKEN: Key<Secret, Optional> = Key::optional(
    "bearer_token",
    "{ file = \"/etc/miro-siem/http.token\" }",
    "no such header is sent",
    "A token for `Authorization: Bearer`.",
);
pub(super) const USERNAME: Key<String, Optional> =
    Key::optional("username", "\"miro-siem\"", "no such header is sent", "The user of `Authorization: Basic`, with `password`.")
        .limited("without a colon", |name| !name.contains(':'));
pub(super) const PASSWORD: Key<Secret, Optional> =
    Key::optional("password", "{ file = \"/etc/miro-siem/http.password\" }", "required with `username`", "Its password.");

/// `username` and `password`, where they are there; both or none.
pub(super) fn basic(table: &Table<'_>) -> Result<Option<HttpCredential>, Faulty> {
    let (username, password) = (table.take(&USERNAME), table.take(&PASSWORD));
    match (username?, password?) {
        (Some(username), Some(password)) => Ok(Some(HttpCredential::Basic { username, password })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(table.problem(PASSWORD.name, "is missing; `username` needs it")),
        (None, Some(_)) => Err(table.problem(USERNAME.name, "is missing; `password` needs it")),
    }
}

/// One of two ways to authenticate.
pub(super) fn one_of(
    table: &Table<'_>,
    key: &'static str,
    first: Option<HttpCredential>,
    basic: Option<HttpCredential>,
) -> Result<HttpCredential, Faulty> {
    match (first, basic) {
        (Some(_), Some(_)) => Err(table.problem(key, "stands beside `username`; one of the two is meant")),
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (None, None) => Ok(HttpCredential::None),
    }
}
