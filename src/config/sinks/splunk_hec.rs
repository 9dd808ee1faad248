//! `type = "splunk_hec"`

use std::time::Duration;

use super::{Connects, SinkType};
use crate::config::{
    Secret,
    address::BaseUrl,
    key::{Defaulted, Key, Optional, Required},
    problem::Faulty,
    settings::{Compression, IndexerAck, Provenance, SinkKindSettings, SplunkHecSettings},
    table::Table,
};

const URL: Key<BaseUrl, Required> =
    Key::required("url", "\"https://splunk.example.com:8088\"", "The HTTP Event Collector, up to the port.")
        .limited("without /services/collector, which is added where it is needed", |url| !url.0.path().contains("/services/collector"));
const TOKEN: Key<Secret, Required> = Key::required("token", "{ file = \"/etc/miro-siem/splunk.token\" }", "The collector's token.");
const ACK: Key<IndexerAck, Defaulted> = Key::defaulted(
    "ack",
    "false",
    "Whether an event counts as delivered only when the indexers have acknowledged it. \
     The token needs indexer acknowledgement switched on.",
);
const ACK_TIMEOUT: Key<Duration, Defaulted> =
    Key::defaulted("ack_timeout", "5m", "How long to wait for the acknowledgement before the batch is sent again.")
        .limited("from 1s to 1h", |wait| (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(wait));
const COMPRESSION: Key<Compression, Defaulted> = Key::defaulted("compression", "gzip", "How requests are compressed: none or gzip.")
    .limited("\"none\" or \"gzip\"", |compression| matches!(compression, Compression::None | Compression::Gzip));
const INDEX: Key<String, Optional> = Key::optional("index", "\"security\"", "the token's default index", "The index.");
const SOURCE: Key<String, Optional> = Key::optional("source", "\"miro-siem\"", "the token's default source", "The source.");
const SOURCETYPE: Key<String, Optional> = Key::optional(
    "sourcetype",
    "\"miro:audit\"",
    "miro:audit, miro:content and miro:ai, each for its stream",
    "The source type of all streams.",
);
const HOST: Key<String, Optional> = Key::optional("host", "\"miro.com\"", "the collector decides", "The host.");

pub(super) const TYPE: SinkType = SinkType {
    name: "splunk_hec",
    doc: "Splunk's HTTP Event Collector, and every receiver that speaks its protocol.",
    keys: &[&URL, &TOKEN, &ACK, &ACK_TIMEOUT, &COMPRESSION, &INDEX, &SOURCE, &SOURCETYPE, &HOST],
    connects: Connects::Yes,
    provenance: Provenance::On,
    read,
};

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (url, token, ack, ack_timeout) = (table.take(&URL), table.take(&TOKEN), table.take(&ACK), table.take(&ACK_TIMEOUT));
    let (compression, index, source) = (table.take(&COMPRESSION), table.take(&INDEX), table.take(&SOURCE));
    let (sourcetype, host) = (table.take(&SOURCETYPE), table.take(&HOST));
    Ok(SinkKindSettings::SplunkHec(SplunkHecSettings {
        url: url?.0,
        token: token?,
        ack: ack?,
        ack_timeout: ack_timeout?,
        compression: compression?,
        index: index?,
        source: source?,
        sourcetype: sourcetype?,
        host: host?,
    }))
}
