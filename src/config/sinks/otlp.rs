//! `type = "otlp"`

use serde_json::{Value as Json, json};

use super::{
    Connects, SinkType, credential,
    headers::{self, Headers},
};
use crate::config::{
    address::BaseUrl,
    key::{Defaulted, Key, Optional, Required},
    node::Node,
    problem::Faulty,
    settings::{Compression, HttpCredential, OtlpEncoding, OtlpSettings, Provenance, SinkKindSettings},
    table::{At, Table},
    value::{FromText, Unfit, Value},
};

const URL: Key<BaseUrl, Required> = Key::required(
    "url",
    "\"https://collector.example.com:4318\"",
    "The OTLP/HTTP receiver. /v1/logs is added, unless the path ends with it already.",
);
const ENCODING: Key<OtlpEncoding, Defaulted> = Key::defaulted("encoding", "protobuf", "How a request is written.");
const HEADERS: Key<Headers, Optional> = Key::optional(
    "headers",
    "{ X-Api-Key = { file = \"/etc/miro-siem/otlp.key\" } }",
    "none",
    "Further headers of every request: a text, or where a secret comes from.",
);
const RESOURCE_ATTRIBUTES: Key<Attributes, Optional> = Key::optional(
    "resource_attributes",
    "{ \"deployment.environment.name\" = \"production\" }",
    "none",
    "Further attributes of the resource, beside service.name, service.version and miro.org; one of the first two replaces ours.",
);
const COMPRESSION: Key<Compression, Defaulted> = Key::defaulted("compression", "gzip", "How requests are compressed: none or gzip.")
    .limited("\"none\" or \"gzip\"", |compression| matches!(compression, Compression::None | Compression::Gzip));

pub(super) const TYPE: SinkType = SinkType {
    name: "otlp",
    doc: "OpenTelemetry logs over HTTP. The body of a log record is the event's record as text, its id is the attribute `log.record.uid`. A \
          receiver that rejects some records of a request does not say which: then all of the request become dead letters with the reason \
          `maybe_rejected`, which `dead-letters retry` sends again one by one; so raise `batch_events_max` with care.",
    keys: &[
        &URL,
        &ENCODING,
        &HEADERS,
        &credential::BEARER_TOKEN,
        &credential::USERNAME,
        &credential::PASSWORD,
        &RESOURCE_ATTRIBUTES,
        &COMPRESSION,
    ],
    connects: Connects::Yes,
    provenance: Provenance::On,
    read,
};

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (url, encoding, headers) = (table.take(&URL), table.take(&ENCODING), table.take(&HEADERS));
    let (token, basic) = (table.take(&credential::BEARER_TOKEN), credential::basic(table));
    let (resource_attributes, compression) = (table.take(&RESOURCE_ATTRIBUTES), table.take(&COMPRESSION));
    let headers = headers?.map(|headers| headers.0).unwrap_or_default();
    if headers.iter().any(|(name, _)| name == "content-type") {
        return Err(table.problem(HEADERS.name, "hold Content-Type, which `encoding` decides"));
    }
    let credential = credential::one_of(table, credential::BEARER_TOKEN.name, token?.map(HttpCredential::Bearer), basic?)?;
    headers::refuse_doubled_authorization(table, HEADERS.name, &headers, &credential)?;
    Ok(SinkKindSettings::Otlp(OtlpSettings {
        url: url?.0,
        encoding: encoding?,
        headers,
        credential,
        resource_attributes: resource_attributes?.map(|attributes| attributes.0).unwrap_or_default(),
        compression: compression?,
    }))
}

impl FromText for OtlpEncoding {
    const MEANT: &'static str = "\"protobuf\" or \"json\"";
    const WORDS: &'static [&'static str] = &["protobuf", "json"];

    fn from_text(text: &str) -> Result<Self, Unfit> {
        match text {
            "protobuf" => Ok(Self::Protobuf),
            "json" => Ok(Self::Json),
            _ => Err(Unfit::Plainly),
        }
    }
}

/// Names of attributes and their texts.
struct Attributes(Vec<(String, String)>);

impl Value for Attributes {
    const MEANT: &'static str = "a table of attribute names and texts";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let table = Table::open(at.clone(), node)?;
        let read: Vec<_> = table.entries().map(|(name, node)| attribute(&at.child(name), name, node)).collect();
        Ok(Self(read.into_iter().collect::<Result<_, _>>()?))
    }

    fn form() -> Json {
        json!({ "type": ["object", "null"], "additionalProperties": <String as Value>::form() })
    }
}

/// OpenTelemetry's rule for names is wider; these are the ones that its conventions make.
fn attribute(at: &At<'_>, name: &str, node: &Node) -> Result<(String, String), Faulty> {
    let value = <String as Value>::read(at, node)?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
    if is_name {
        Ok((name.to_owned(), value))
    } else {
        Err(at.problem(node, "is no name of an attribute: letters, digits, `_`, `-`, `.` and `/`"))
    }
}
