//! `type = "http"`

use serde_json::{Value as Json, json};

use super::{Connects, SinkType, credential};
use crate::config::{
    Secret,
    address::SecretUrl,
    key::{Defaulted, Key, Keys, Optional, Required},
    node::{Kind, Node, Origin},
    problem::Faulty,
    settings::{Compression, HttpCredential, HttpWebhookSettings, Provenance, SinkKindSettings, WebhookBody},
    table::{At, Table},
    value::{FromText, Unfit, Value},
};

/// Headers that the sink writes itself, or that belong to the connection.
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

const URL: Key<SecretUrl, Required> = Key::required(
    "url",
    "{ file = \"/etc/miro-siem/http.url\" }",
    "Where requests are posted to. It counts as a secret, because many receivers put one into the path or the query.",
);
const BODY: Key<WebhookBody, Defaulted> = Key::defaulted("body", "ndjson", "What a request holds: one record per line, or one JSON array.");
const HEADERS: Key<Headers, Optional> = Key::optional(
    "headers",
    "{ X-Api-Key = { file = \"/etc/miro-siem/http.key\" } }",
    "none",
    "Further headers of every request: a text, or where a secret comes from. `Content-Type` replaces the usual one.",
);
const SIGNING_SECRET: Key<Secret, Optional> = Key::optional(
    "signing_secret",
    "{ file = \"/etc/miro-siem/webhook.secret\" }",
    "requests are not signed",
    "Signs requests by Standard Webhooks (v1, HMAC-SHA256): `whsec_` and 24 to 64 bytes in base64. \
     `webhook-id` stays the same when a batch is sent again.",
);
const COMPRESSION: Key<Compression, Optional> = Key::optional(
    "compression",
    "\"gzip\"",
    "gzip; none with `signing_secret`, because receivers differ in whether they verify before or after they decompress",
    "How requests are compressed: none, gzip or zstd. The signature is over the records before compression.",
);

pub(super) const TYPE: SinkType = SinkType {
    name: "http",
    doc: "Any receiver of JSON over HTTP. An event counts as delivered when the receiver answers 200 to 299. \
          Client certificates are keys of `tls`.",
    keys: &[&URL, &BODY, &HEADERS, &credential::BEARER_TOKEN, &credential::USERNAME, &credential::PASSWORD, &SIGNING_SECRET, &COMPRESSION],
    connects: Connects::Yes,
    provenance: Provenance::On,
    read,
};

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (url, body, headers) = (table.take(&URL), table.take(&BODY), table.take(&HEADERS));
    let (token, basic) = (table.take(&credential::BEARER_TOKEN), credential::basic(table));
    let (signing_secret, compression) = (table.take(&SIGNING_SECRET), table.take(&COMPRESSION));
    let headers = headers?.map(|headers| headers.0).unwrap_or_default();
    let credential = credential::one_of(table, credential::BEARER_TOKEN.name, token?.map(HttpCredential::Bearer), basic?)?;
    if !matches!(credential, HttpCredential::None) && headers.iter().any(|(name, _)| name == "authorization") {
        return Err(table.problem(HEADERS.name, "hold Authorization beside a key that writes it; one of the two is meant"));
    }
    let signing_secret = signing_secret?;
    let usual = if signing_secret.is_some() { Compression::None } else { Compression::Gzip };
    Ok(SinkKindSettings::HttpWebhook(HttpWebhookSettings {
        url: url?.0,
        body: body?,
        headers,
        credential,
        signing_secret,
        compression: compression?.unwrap_or(usual),
    }))
}

impl FromText for WebhookBody {
    const MEANT: &'static str = "\"ndjson\" or \"array\"";
    const WORDS: &'static [&'static str] = &["ndjson", "array"];

    fn from_text(text: &str) -> Result<Self, Unfit> {
        match text {
            "ndjson" => Ok(Self::Ndjson),
            "array" => Ok(Self::Array),
            _ => Err(Unfit::Plainly),
        }
    }
}

/// Names of headers, in lower case, and their values.
struct Headers(Vec<(String, Secret)>);

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
