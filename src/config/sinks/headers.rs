//! Further headers of a sink's requests.

use serde_json::{Value as Json, json};

use crate::config::{
    Secret,
    key::Keys,
    node::{Kind, Node, Origin},
    problem::Faulty,
    settings::HttpCredential,
    table::{At, Table},
    value::Value,
};

/// Headers that a sink writes itself, or that belong to the connection.
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-encoding",
    "content-length",
    "host",
    "te",
    "transfer-encoding",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// A header with one of these in its name holds a credential, which a file that everybody may read should not. Whatever the name,
/// a value is never shown.
const CREDENTIAL_WORDS: [&str; 6] = ["auth", "cookie", "key", "password", "secret", "token"];

/// Names of headers, in lower case, and their values.
pub(super) struct Headers(pub(super) Vec<(String, Secret)>);

impl Value for Headers {
    const MEANT: &'static str = "a table of header names and texts or secrets";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let table = Table::open(at.clone(), node)?;
        let read: Vec<_> = table.entries().map(|(name, node)| header(&at.child(name), name, node)).collect();
        let mut headers: Vec<(String, Secret)> = read.into_iter().collect::<Result<_, _>>()?;
        headers.sort_by(|(one, _), (other, _)| one.cmp(other));
        if let Some(pair) = headers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(at.problem(node, format!("hold {} twice: the case of a header's name means nothing", pair[0].0)));
        }
        Ok(Self(headers))
    }

    fn sub_keys() -> Keys {
        &[]
    }

    fn form() -> Json {
        json!({ "type": ["object", "null"], "additionalProperties": Secret::form() })
    }
}

fn header(at: &At<'_>, name: &str, node: &Node) -> Result<(String, Secret), Faulty> {
    // RFC 9110, section 5.6.2.
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if !is_name {
        return Err(at.problem(node, "is no name of a header"));
    }
    let lower = name.to_ascii_lowercase();
    if OWN_HEADERS.contains(&lower.as_str()) {
        return Err(at.problem(node, "is a header that this sink or the connection writes"));
    }
    let Kind::Text(text) = &node.kind else { return Ok((lower, <Secret as Value>::read(at, node)?)) };
    // Unlike tokens, other values have spaces.
    if text.trim().is_empty() || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(at.problem(node, "needs a text of printable ASCII, or where a secret comes from"));
    }
    if node.origin == Origin::File && CREDENTIAL_WORDS.iter().any(|word| lower.contains(word)) {
        at.report.literal_secret(&at.key);
    }
    Ok((lower, Secret::literal(text.trim())))
}

/// `Authorization` comes from one place.
pub(super) fn refuse_doubled_authorization(
    table: &Table<'_>,
    key: &'static str,
    headers: &[(String, Secret)],
    credential: &HttpCredential,
) -> Result<(), Faulty> {
    if !matches!(credential, HttpCredential::None) && headers.iter().any(|(name, _)| name == "authorization") {
        return Err(table.problem(key, "hold Authorization beside a key that writes it; one of the two is meant"));
    }
    Ok(())
}
