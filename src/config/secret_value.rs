//! Reading where a secret comes from. Nothing in here repeats a value.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::{
    Secret,
    key::{Key, Keys, Optional},
    node::{Kind, Node, Origin},
    problem::Faulty,
    schema,
    settings::AuthSettings,
    table::{At, Table},
    value::Value,
};

type Source<T> = Key<T, Optional>;

const FILE: Source<PathBuf> = Key::optional("file", "\"/etc/miro-siem/secret\"", "", "A file that holds the secret and nothing else.");
const ENV: Source<String> = Key::optional("env", "\"MIRO_ACCESS_TOKEN\"", "", "An environment variable.");
const CREDENTIAL: Source<String> = Key::optional("credential", "\"miro-token\"", "", "A systemd credential (LoadCredential=).");

const SOURCES: Keys = &[&FILE, &ENV, &CREDENTIAL];

impl Value for Secret {
    const MEANT: &'static str = "a secret: { file = \"…\" }, { env = \"…\" }, { credential = \"…\" } or a text";
    const SHORT: &'static str = "a secret";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        match &node.kind {
            Kind::Text(text) => literal(at, node, text.trim()),
            Kind::Table(_) => from_source(at, node),
            _ => Err(at.problem(node, format!("needs {}; found {}", Self::MEANT, node.describe()))),
        }
    }

    fn form() -> Json {
        let mut source = schema::table(SOURCES);
        source["type"] = json!("object");
        (source["minProperties"], source["maxProperties"]) = (json!(1), json!(1));
        json!({ "oneOf": [{ "type": "string", "minLength": 1 }, source] })
    }
}

fn literal(at: &At<'_>, node: &Node, text: &str) -> Result<Secret, Faulty> {
    if text.is_empty() {
        return Err(at.problem(node, format!("needs {}; found an empty text", Secret::MEANT)));
    }
    if text.chars().any(|char| char.is_control() || char.is_whitespace()) {
        return Err(at.problem(node, "holds white space or a control character, which no secret of this kind does"));
    }
    if node.origin == Origin::File {
        at.report.literal_secret(&at.key);
    }
    Ok(Secret::literal(text))
}

fn from_source(at: &At<'_>, node: &Node) -> Result<Secret, Faulty> {
    let table = Table::of_keys(at.clone(), node, SOURCES)?;
    let name = chosen(&table)?;
    let source = match name {
        "file" => table.take(&FILE)?.map(Secret::File),
        "env" => table.take(&ENV)?.map(Secret::Env),
        _ => table.take(&CREDENTIAL)?.map(Secret::Credential),
    };
    match &source {
        Some(Secret::Credential(name)) if name.contains('/') => Err(table.problem("credential", "needs a name, not a path")),
        Some(Secret::Env(name)) if name.contains('=') || name.contains('$') => {
            Err(table.problem("env", "needs the bare name of an environment variable"))
        }
        _ => source.ok_or(Faulty),
    }
}

/// The one source that is named. A variable of the environment replaces what the file says, even where it names another source.
fn chosen(table: &Table<'_>) -> Result<&'static str, Faulty> {
    let named = |overriding: bool| {
        let is_meant = move |node: &Node| !overriding || matches!(node.origin, Origin::Environment(_));
        SOURCES.iter().map(|key| key.name()).filter(|name| table.raw(name).is_some_and(is_meant)).collect::<Vec<_>>()
    };
    match (named(true).as_slice(), named(false).as_slice()) {
        ([one], _) | ([], [one]) => Ok(one),
        // An unknown key has been told already.
        ([], []) if table.entries().next().is_some() => Err(Faulty),
        ([], []) => Err(table.at.problem(table.node, format!("needs {}; found a table that names no source", Secret::MEANT))),
        (_, several) => {
            let several = several.join(" and ");
            Err(table.at.problem(table.node, format!("needs one source; found {several}")))
        }
    }
}

/// `token` of an organisation.
pub(super) const TOKEN: Key<Secret, Optional> = Key::optional(
    "token",
    "{ file = \"/etc/miro-siem/miro.token\" }",
    "every stream needs one of its own",
    "A Miro access token that does not expire, for every stream without one of its own.",
);

/// `token` of a stream.
pub(super) const STREAM_TOKEN: Key<Secret, Optional> = Key::optional(
    "token",
    "{ file = \"/etc/miro-siem/miro-stream.token\" }",
    "the organisation's",
    "A token for this stream alone. Miro issues one of its own for content logs.",
);

/// `oauth` of an organisation.
pub(super) const OAUTH: Key<Oauth, Optional> = Key::optional(
    "oauth",
    OAUTH_EXAMPLE,
    "no token is refreshed",
    "Instead of `token`: an app whose tokens expire. Later refresh tokens are kept in the state directory.",
);

/// `oauth` of a stream.
pub(super) const STREAM_OAUTH: Key<Oauth, Optional> =
    Key::optional("oauth", OAUTH_EXAMPLE, "the organisation's", "Instead of `token`, for this stream alone.");

const OAUTH_EXAMPLE: &str = "{ client_id = \"…\", client_secret = { file = \"…\" }, refresh_token = { file = \"…\" } }";

/// The table of an app whose tokens expire.
pub(super) struct Oauth {
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
}

mod oauth {
    use super::{Key, Keys, Secret};
    use crate::config::key::Required;

    pub(super) const CLIENT_ID: Key<String, Required> = Key::required("client_id", "\"3458764500000000000\"", "The app's client id.");
    pub(super) const CLIENT_SECRET: Key<Secret, Required> =
        Key::required("client_secret", "{ file = \"/etc/miro-siem/client.secret\" }", "The app's client secret.");
    pub(super) const REFRESH_TOKEN: Key<Secret, Required> = Key::required(
        "refresh_token",
        "{ file = \"/etc/miro-siem/refresh.token\" }",
        "The first refresh token; each later one replaces it.",
    );
    pub(super) const KEYS: Keys = &[&CLIENT_ID, &CLIENT_SECRET, &REFRESH_TOKEN];
}

impl Value for Oauth {
    const MEANT: &'static str = "a table of client_id, client_secret and refresh_token";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let table = Table::of_keys(at.clone(), node, oauth::KEYS)?;
        let client_id = table.take(&oauth::CLIENT_ID);
        let client_secret = table.take(&oauth::CLIENT_SECRET);
        let refresh_token = table.take(&oauth::REFRESH_TOKEN);
        Ok(Self { client_id: client_id?, client_secret: client_secret?, refresh_token: refresh_token? })
    }

    fn sub_keys() -> Keys {
        oauth::KEYS
    }

    fn form() -> Json {
        schema::table(oauth::KEYS)
    }
}

/// `token` or `oauth` of a table, if either is there.
pub(super) fn auth(table: &Table<'_>) -> Result<Option<AuthSettings>, Faulty> {
    let (token, oauth) = (table.take(&TOKEN), table.take(&OAUTH));
    match (token?, oauth?) {
        (Some(_), Some(_)) => Err(table.problem("oauth", "stands beside `token`; one of the two is meant")),
        (Some(token), None) => Ok(Some(AuthSettings::Token(token))),
        (None, Some(Oauth { client_id, client_secret, refresh_token })) => {
            Ok(Some(AuthSettings::Oauth { client_id, client_secret, refresh_token }))
        }
        (None, None) => Ok(None),
    }
}
