//! `type = "splunk_hec"`

use std::time::Duration;

use super::{Connects, SinkType};
use crate::config::{
    Secret,
    address::BaseUrl,
    key::{Defaulted, Key, Optional, Required},
    problem::Faulty,
    settings::{Compression, HecAuthScheme, HecDialect, IndexerAck, Provenance, SinkKindSettings, SplunkHecSettings},
    table::Table,
    value::{FromText, Unfit},
};

const DIALECT: Key<HecDialect, Defaulted> = Key::defaulted(
    "dialect",
    "splunk",
    "Whose HTTP Event Collector it is. logscale is CrowdStrike Falcon LogScale and Next-Gen SIEM: a Bearer token, a path of its own, no \
     acknowledgement, and no source type unless one is set, because LogScale chooses its parser by it. cribl is Cribl Stream and Edge.",
);
const URL: Key<BaseUrl, Required> =
    Key::required("url", "\"https://splunk.example.com:8088\"", "The HTTP Event Collector, up to the port.")
        .limited("without /services/collector, which is added where it is needed; `path` is for another", |url| {
            !url.0.path().contains("/services/collector")
        });
const PATH: Key<String, Optional> = Key::optional(
    "path",
    "\"/services/collector\"",
    "/services/collector, with logscale /api/v1/ingest/hec",
    "The collector's path. To it, /event, /ack and /health are added; with logscale, nothing is.",
)
.limited("a path that begins with `/`", |path| {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%\"<>\\^`{|}".contains(&byte))
});
const AUTH_SCHEME: Key<HecAuthScheme, Optional> =
    Key::optional("auth_scheme", "\"bearer\"", "splunk, with logscale bearer", "The word before the token in the header `Authorization`.");
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
    "miro:audit, miro:content and so on, each for its stream; none with logscale",
    "The source type of all streams.",
);
const HOST: Key<String, Optional> = Key::optional("host", "\"miro.com\"", "the collector decides", "The host.");

pub(super) const TYPE: SinkType = SinkType {
    name: "splunk_hec",
    doc: "Splunk's HTTP Event Collector, and every receiver that speaks its protocol.",
    keys: &[&DIALECT, &URL, &PATH, &TOKEN, &AUTH_SCHEME, &ACK, &ACK_TIMEOUT, &COMPRESSION, &INDEX, &SOURCE, &SOURCETYPE, &HOST],
    connects: Connects::Yes,
    provenance: Provenance::On,
    read,
};

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (url, token, ack, ack_timeout) = (table.take(&URL), table.take(&TOKEN), table.take(&ACK), table.take(&ACK_TIMEOUT));
    let (compression, index, source) = (table.take(&COMPRESSION), table.take(&INDEX), table.take(&SOURCE));
    let (sourcetype, host) = (table.take(&SOURCETYPE), table.take(&HOST));
    let (dialect, path, auth_scheme) = (table.take(&DIALECT), table.take(&PATH), table.take(&AUTH_SCHEME));
    let dialect = dialect?;
    if dialect == HecDialect::LogScale && matches!(ack, Ok(IndexerAck::On)) {
        return Err(table.problem(ACK.name, "has to be false with dialect = \"logscale\", which has no acknowledgement"));
    }
    if dialect == HecDialect::LogScale && matches!(index, Ok(Some(_))) {
        return Err(table.problem(INDEX.name, "has no meaning with dialect = \"logscale\": the token names the repository"));
    }
    Ok(SinkKindSettings::SplunkHec(SplunkHecSettings {
        dialect,
        url: url?.0,
        path: path?,
        auth_scheme: auth_scheme?,
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

impl FromText for HecDialect {
    const MEANT: &'static str = "\"splunk\", \"logscale\" or \"cribl\"";
    const WORDS: &'static [&'static str] = &["splunk", "logscale", "cribl"];

    fn from_text(text: &str) -> Result<Self, Unfit> {
        match text {
            "splunk" => Ok(Self::Splunk),
            "logscale" => Ok(Self::LogScale),
            "cribl" => Ok(Self::Cribl),
            _ => Err(Unfit::Plainly),
        }
    }
}

impl FromText for HecAuthScheme {
    const MEANT: &'static str = "\"splunk\" or \"bearer\"";
    const WORDS: &'static [&'static str] = &["splunk", "bearer"];

    fn from_text(text: &str) -> Result<Self, Unfit> {
        match text {
            "splunk" => Ok(Self::Splunk),
            "bearer" => Ok(Self::Bearer),
            _ => Err(Unfit::Plainly),
        }
    }
}
