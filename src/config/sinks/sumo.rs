//! `type = "sumo"`

use serde_json::{Value as Json, json};

use super::{Connects, SinkType};
use crate::config::{
    address::SecretUrl,
    key::{Defaulted, Key, Optional, Required},
    node::Node,
    problem::Faulty,
    settings::{Compression, Provenance, SinkKindSettings, SumoSettings},
    table::{At, Table},
    value::{FromText, Value},
};

const URL: Key<SecretUrl, Required> = Key::required(
    "url",
    "{ file = \"/etc/miro-siem/sumo.url\" }",
    "The HTTP source's address. Whoever knows it can write there: it is a secret as a whole.",
);
const CATEGORY: Key<String, Optional> =
    Key::optional("category", "\"miro\"", "the source's own", "The source category; dashboards of the Miro app look for it.");
const NAME: Key<String, Optional> = Key::optional("name", "\"miro-siem\"", "the source's own", "The source name.");
const HOST: Key<String, Optional> = Key::optional("host", "\"miro.com\"", "the source's own", "The source host.");
const FIELDS: Key<Fields, Optional> = Key::optional(
    "fields",
    "{ environment = \"production\" }",
    "none",
    "Fields of every record. Sumo Logic drops those that its schema does not have.",
);
const COMPRESSION: Key<Compression, Defaulted> = Key::defaulted("compression", "gzip", "How requests are compressed: none, gzip or zstd.");

pub(super) const TYPE: SinkType = SinkType {
    name: "sumo",
    doc: "Sumo Logic's HTTP source. Switch multiline processing off at the source: each line is one record.",
    keys: &[&URL, &CATEGORY, &NAME, &HOST, &FIELDS, &COMPRESSION],
    connects: Connects::Yes,
    provenance: Provenance::On,
    read,
};

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (url, category, name, host) = (table.take(&URL), table.take(&CATEGORY), table.take(&NAME), table.take(&HOST));
    let (fields, compression) = (table.take(&FIELDS), table.take(&COMPRESSION));
    Ok(SinkKindSettings::Sumo(SumoSettings {
        url: url?.0,
        category: category?,
        name: name?,
        host: host?,
        fields: fields?.map(|fields| fields.0).unwrap_or_default(),
        compression: compression?,
    }))
}

/// Names and values that travel as `name=value,name=value` in a header.
struct Fields(Vec<(String, String)>);

impl Value for Fields {
    const MEANT: &'static str = "a table of names and texts";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let table = Table::open(at.clone(), node)?;
        let read: Vec<_> = table.entries().map(|(name, node)| field(&at.child(name), name, node)).collect();
        Ok(Self(read.into_iter().collect::<Result<_, _>>()?))
    }

    fn form() -> Json {
        json!({ "type": ["object", "null"], "additionalProperties": <String as Value>::form() })
    }
}

fn field(at: &At<'_>, name: &str, node: &Node) -> Result<(String, String), Faulty> {
    let value = <String as Value>::read(at, node)?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let is_value = value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b',' && byte != b'=');
    match (is_name, is_value) {
        (true, true) => Ok((name.to_owned(), value)),
        (false, _) => Err(at.problem(node, "a field's name is made of letters, digits, `_`, `-` and `.`")),
        (_, false) => Err(at.problem(node, format!("needs {} of printable ASCII without `,` and `=`", <String as FromText>::MEANT))),
    }
}
