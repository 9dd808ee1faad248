//! `type = "elasticsearch"`

use super::{Connects, SinkType, credential};
use crate::config::{
    Secret,
    address::BaseUrl,
    key::{Defaulted, Key, Optional, Required},
    problem::Faulty,
    settings::{Compression, ElasticsearchSettings, HttpCredential, Provenance, SinkKindSettings},
    table::Table,
    value::{FromText, Unfit},
};

/// "Each part of a data stream's name has at most 100 characters"; the whole has at most 255 bytes.
const PART_BYTES_MAX: usize = 100;
/// Elastic's page "Create index" names these, besides upper case and white space.
const FORBIDDEN: &str = "\\/*?\"<>|,#:";

const URL: Key<BaseUrl, Required> = Key::required("url", "\"https://elastic.example.com:9200\"", "The cluster, without the data stream.")
    .limited("without /_bulk, which is added where it is needed", |url| !url.0.path().contains("/_bulk"));
const DATA_STREAM: Key<StreamPattern, Defaulted> = Key::defaulted(
    "data_stream",
    "logs-miro.{stream}-{namespace}",
    "The data stream, with `{org}`, `{stream}` and `{namespace}`. \
     It needs an index template with a data stream; Elasticsearch has one for logs-*-*, OpenSearch has none.",
);
const NAMESPACE: Key<Namespace, Defaulted> = Key::defaulted("namespace", "default", "The `{namespace}` of the data stream.");
const API_KEY: Key<Secret, Optional> = Key::optional(
    "api_key",
    "{ file = \"/etc/miro-siem/elastic.key\" }",
    "`username` and `password`, or no credential",
    "An API key in its encoded form, with the privileges create_doc and auto_configure. OpenSearch has none: use `username`.",
);
const COMPRESSION: Key<Compression, Defaulted> = Key::defaulted("compression", "gzip", "How requests are compressed: none or gzip.")
    .limited("\"none\" or \"gzip\"", |compression| matches!(compression, Compression::None | Compression::Gzip));

pub(super) const TYPE: SinkType = SinkType {
    name: "elasticsearch",
    doc: "Elasticsearch and OpenSearch, through `_bulk` into a data stream. Each document's `_id` is made from the event's id, \
          so that one that is sent again is there once.",
    keys: &[&URL, &DATA_STREAM, &NAMESPACE, &API_KEY, &credential::USERNAME, &credential::PASSWORD, &COMPRESSION],
    connects: Connects::Yes,
    provenance: Provenance::On,
    read,
};

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (url, data_stream, namespace) = (table.take(&URL), table.take(&DATA_STREAM), table.take(&NAMESPACE));
    let (api_key, basic, compression) = (table.take(&API_KEY), credential::basic(table), table.take(&COMPRESSION));
    let credential = credential::one_of(table, API_KEY.name, api_key?.map(HttpCredential::ApiKey), basic?)?;
    Ok(SinkKindSettings::Elasticsearch(ElasticsearchSettings {
        url: url?.0,
        data_stream: data_stream?.0,
        namespace: namespace?.0,
        credential,
        compression: compression?,
    }))
}

/// `data_stream`
struct StreamPattern(String);

impl FromText for StreamPattern {
    const MEANT: &'static str = "a data stream's name in lower case, such as \"logs-miro.{stream}-{namespace}\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let filled = ["{org}", "{stream}", "{namespace}"].iter().fold(text.to_owned(), |name, part| name.replace(part, "x"));
        let begins_well = !text.starts_with(['-', '_', '+', '.']);
        if filled.contains(['{', '}']) {
            return Err(Unfit::Because("it has a placeholder other than {org}, {stream} and {namespace}".to_owned()));
        }
        if begins_well && is_name(&filled) { Ok(Self(text.to_owned())) } else { Err(Unfit::Plainly) }
    }
}

/// `namespace`
struct Namespace(String);

impl FromText for Namespace {
    const MEANT: &'static str = "a name in lower case without `-`, of at most 100 characters";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        if is_name(text) && !text.contains(['-', '{', '}']) { Ok(Self(text.to_owned())) } else { Err(Unfit::Plainly) }
    }
}

fn is_name(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase() && !FORBIDDEN.contains(c);
    (1..=PART_BYTES_MAX).contains(&text.len()) && text.chars().all(is_good)
}
