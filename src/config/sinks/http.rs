//! `type = "http"`

use super::{
    Connects, SinkType, credential,
    headers::{self, Headers},
};
use crate::config::{
    Secret,
    address::SecretUrl,
    key::{Defaulted, Key, Optional, Required},
    problem::Faulty,
    settings::{Compression, HttpCredential, HttpWebhookSettings, Provenance, SinkKindSettings, WebhookBody},
    table::Table,
    value::{FromText, Unfit},
};

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
    headers::refuse_doubled_authorization(table, HEADERS.name, &headers, &credential)?;
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
