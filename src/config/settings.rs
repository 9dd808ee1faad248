//! The validated configuration: what the rest of the program is given.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

use super::Secret;
pub use super::rules::{AiPrompts, FilterSettings, REDACT_KEY_BYTES_MIN, RedactPreset, RedactRules, RedactSettings};
use crate::event::{OrgName, SinkName, StreamKind, Timestamp};

pub use stores::{NatsCredential, NatsSettings, NatsTls, S3Addressing, S3Credential, S3Settings};

mod stores;

/// Everything that was configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[state]`
    pub state: StateSettings,
    /// `[admin]`
    pub admin: AdminSettings,
    /// `[tls]`, for every outgoing connection that has none of its own.
    pub tls: TlsSettings,
    /// `[orgs.<name>]`, in the order of their names.
    pub orgs: Vec<OrgSettings>,
    /// `[sinks.<name>]`, in the order of their names.
    pub sinks: Vec<SinkSettings>,
}

/// `[state]`
#[derive(Clone, Debug)]
pub struct StateSettings {
    /// `dir`
    pub dir: PathBuf,
    /// `journal_max`, in bytes.
    pub journal_bytes_max: u64,
    /// `dead_letters_max` of each sink, in bytes.
    pub dead_letter_bytes_max: u64,
    /// `drain_timeout`: how long a stop may take to deliver what is collected.
    pub drain_timeout: Duration,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// `listen`; `None` for `"off"`.
    pub listen: Option<SocketAddr>,
    /// `socket`; `None` for `"off"`.
    pub socket: Option<PathBuf>,
    /// `token`: required for any address but loopback.
    pub token: Option<Secret>,
    /// `tls`: what `listen` is served with; plain HTTP where it is left out.
    pub tls: Option<AdminTls>,
    /// `hosts`: names, in lower case, that a request may be addressed to beside the address itself.
    pub hosts: Vec<String>,
}

/// `admin.tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminTls {
    /// `cert_file`: the certificate chain, PEM.
    pub cert_file: PathBuf,
    /// `key_file`: its key, PEM.
    pub key_file: PathBuf,
}

/// `[tls]`, `[sinks.<name>.tls]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `ca_file`: PEM certificates that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// `cert_file`: our own certificate chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// `key_file`: its key, PEM.
    pub key_file: Option<PathBuf>,
}

/// `[orgs.<name>]`
#[derive(Clone, Debug)]
pub struct OrgSettings {
    /// The table's name.
    pub name: OrgName,
    /// `id`: Miro's id of the organisation; found from the token where it is left out.
    pub id: Option<String>,
    /// `api_url`
    pub api_url: Url,
    /// `token` or `oauth`, for every stream without its own.
    pub auth: Option<AuthSettings>,
    /// `quota_share`, of every token of the organisation.
    pub quota_share: QuotaShare,
    /// The streams whose tables are there.
    pub streams: Vec<StreamSettings>,
}

/// `token` or `oauth`
#[derive(Clone, Debug)]
pub enum AuthSettings {
    /// A token that does not expire.
    Token(Secret),
    /// An app whose tokens expire and are refreshed.
    Oauth {
        /// `client_id`
        client_id: String,
        /// `client_secret`
        client_secret: Secret,
        /// `refresh_token`: the first one; later ones are kept in the state directory.
        refresh_token: Secret,
    },
}

/// `[orgs.<name>.audit]` and its siblings.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// Which log.
    pub kind: StreamKind,
    /// `token` or `oauth` of the stream itself.
    pub auth: Option<AuthSettings>,
    /// `poll_interval`
    pub poll_interval: Duration,
    /// `start`
    pub start: Start,
    /// `overlap`
    pub overlap: Duration,
    /// `page_size`
    pub page_size: u32,
    /// `reconcile`: after which times covered time is listed again, shortest first; none switches it off.
    pub reconcile: Vec<Duration>,
    /// How far back Miro's log reaches: `retention`, or for content and AI logs the age of `start` where that is written alone and reaches
    /// further. What is older cannot be collected any more.
    pub retention: Duration,
    /// `heartbeat`: how often an event of ours says how the stream is doing; `None` for `"off"`.
    pub heartbeat: Option<Duration>,
}

/// `quota_share`: which part of Miro's credits a minute is for us.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct QuotaShare(f64);

impl QuotaShare {
    /// All of it.
    pub const WHOLE: Self = Self(1.0);

    /// That fraction; `None` where it is not above 0 and at most 1.
    pub fn new(fraction: f64) -> Option<Self> {
        (fraction > 0.0 && fraction <= 1.0).then_some(Self(fraction))
    }

    /// So many of those credits, rounded down.
    pub fn of(self, credits: u32) -> u32 {
        // The fraction is at most 1: the product fits.
        (f64::from(credits) * self.0) as u32
    }
}

/// `start`: where a stream begins at its first run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// `"now"`
    Now,
    /// `"24h"`: that long ago.
    Ago(Duration),
    /// An RFC 3339 time.
    At(Timestamp),
}

/// `[sinks.<name>]`
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// The table's name.
    pub name: SinkName,
    /// `type` and the keys that belong to it.
    pub kind: SinkKindSettings,
    /// `streams`: which kinds it takes, all of Miro's where it is left out; and our own with `forwarder_events`.
    pub streams: Vec<StreamKind>,
    /// `start`: where it begins when it is new.
    pub start: Start,
    /// `format`
    pub format: Format,
    /// `provenance`: whether `_miro_siem` (or its like) is added.
    pub provenance: Provenance,
    /// `filter`
    pub filter: FilterSettings,
    /// `redact`
    pub redact: RedactSettings,
    /// `batch_events_max`; the sink's own default where it is left out.
    pub batch_events_max: Option<usize>,
    /// `batch_bytes_max`, in bytes of encoded records; the sink's own default where it is left out.
    pub batch_bytes_max: Option<usize>,
    /// `flush_interval`: how long a batch may wait to fill.
    pub flush_interval: Duration,
    /// `timeout` of one delivery.
    pub timeout: Duration,
    /// `retry_initial`: the first ceiling of the wait after an error.
    pub retry_initial: Duration,
    /// `retry_max`: the last one.
    pub retry_max: Duration,
    /// `tls`, else the global one.
    pub tls: TlsSettings,
}

/// `format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Miro's own object, byte for byte.
    Raw,
    /// OCSF 1.8.0.
    Ocsf,
    /// Elastic Common Schema.
    Ecs,
    /// Common Event Format; only for syslog.
    Cef,
    /// Log Event Extended Format; only for syslog.
    Leef,
}

/// `provenance`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// Left off.
    Off,
    /// Added.
    On,
}

/// `type` of a sink, with the keys of that type.
#[derive(Clone, Debug)]
pub enum SinkKindSettings {
    /// `stdout`
    Stdout,
    /// `file`
    File(FileSettings),
    /// `splunk_hec`
    SplunkHec(SplunkHecSettings),
    /// `azure_monitor`
    AzureMonitor(AzureMonitorSettings),
    /// `sumo`
    Sumo(SumoSettings),
    /// `syslog`
    Syslog(SyslogSettings),
    /// `http`
    HttpWebhook(HttpWebhookSettings),
    /// `elasticsearch`
    Elasticsearch(ElasticsearchSettings),
    /// `nats`
    Nats(NatsSettings),
    /// `otlp`
    Otlp(OtlpSettings),
    /// `s3`
    S3(S3Settings),
}

impl SinkKindSettings {
    /// The value of `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::SplunkHec(_) => "splunk_hec",
            Self::AzureMonitor(_) => "azure_monitor",
            Self::Sumo(_) => "sumo",
            Self::Syslog(_) => "syslog",
            Self::HttpWebhook(_) => "http",
            Self::Elasticsearch(_) => "elasticsearch",
            Self::Nats(_) => "nats",
            Self::Otlp(_) => "otlp",
            Self::S3(_) => "s3",
        }
    }
}

/// Compression of files and request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// `type = "file"`
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// `path`, with `{org}`, `{stream}` and strftime's `%Y-%m-%d` and so on, filled from the event's own time in UTC.
    pub path: String,
    /// `size_max`: a file that has reached it, in bytes, is closed and the next one gets a number.
    pub size_bytes_max: Option<u64>,
    /// `compression`: none or zstd.
    pub compression: Compression,
    /// `mode` of new files, octal; 0640 where it is left out.
    pub mode: u32,
}

/// `type = "splunk_hec"`
#[derive(Clone, Debug)]
pub struct SplunkHecSettings {
    /// `dialect`
    pub dialect: HecDialect,
    /// `url`, up to the port.
    pub url: Url,
    /// `path` of the collector; the dialect's own where it is left out.
    pub path: Option<String>,
    /// `auth_scheme`; the dialect's own where it is left out.
    pub auth_scheme: Option<HecAuthScheme>,
    /// `token`
    pub token: Secret,
    /// `ack`: whether indexer acknowledgement is asked for.
    pub ack: IndexerAck,
    /// `ack_timeout`: how long to wait for it before the batch is sent again.
    pub ack_timeout: Duration,
    /// `compression`: none or gzip.
    pub compression: Compression,
    /// `index`
    pub index: Option<String>,
    /// `source`
    pub source: Option<String>,
    /// `sourcetype`; `miro:audit` and so on where it is left out.
    pub sourcetype: Option<String>,
    /// `host`
    pub host: Option<String>,
}

/// `dialect`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HecDialect {
    /// Splunk Enterprise and Splunk Cloud, and what behaves as they do.
    Splunk,
    /// CrowdStrike Falcon LogScale and Next-Gen SIEM.
    LogScale,
    /// Cribl Stream and Cribl Edge.
    Cribl,
}

/// `auth_scheme`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HecAuthScheme {
    /// `Authorization: Splunk …`
    Splunk,
    /// `Authorization: Bearer …`
    Bearer,
}

/// `ack`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexerAck {
    /// An event counts as delivered when HEC answers 200.
    Off,
    /// An event counts as delivered when the indexers have acknowledged it.
    On,
}

/// `type = "azure_monitor"`
#[derive(Clone, Debug)]
pub struct AzureMonitorSettings {
    /// `endpoint` of the data collection rule or endpoint.
    pub endpoint: Url,
    /// `dcr_id`: the rule's immutable id.
    pub dcr_id: String,
    /// How to authenticate.
    pub credential: AzureCredential,
    /// `authority`
    pub authority: Url,
    /// `scope`; found from the endpoint where it is left out.
    pub scope: String,
    /// `audit_stream`
    pub audit_stream: String,
    /// `content_stream`
    pub content_stream: String,
    /// `ai_stream`
    pub ai_stream: String,
    /// `licenses_stream`
    pub licenses_stream: String,
    /// `compression`: none or gzip.
    pub compression: Compression,
}

/// How an `azure_monitor` sink authenticates.
#[derive(Clone, Debug)]
pub enum AzureCredential {
    /// `tenant_id`, `client_id`, `client_secret`
    ClientSecret {
        /// The tenant.
        tenant_id: String,
        /// The application.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
    },
    /// `managed_identity = true`, or a table with the `client_id` of a user-assigned one.
    ManagedIdentity {
        /// The user-assigned identity; the system-assigned one where it is left out.
        client_id: Option<String>,
    },
    /// `workload_identity = true`, or a table with what the environment does not say.
    WorkloadIdentity {
        /// The tenant; `AZURE_TENANT_ID` where it is left out.
        tenant_id: Option<String>,
        /// The application; `AZURE_CLIENT_ID` where it is left out.
        client_id: Option<String>,
        /// The projected token; `AZURE_FEDERATED_TOKEN_FILE` where it is left out.
        token_file: Option<PathBuf>,
    },
}

/// `type = "sumo"`
#[derive(Clone, Debug)]
pub struct SumoSettings {
    /// `url` of the HTTP source: a secret as a whole.
    pub url: Secret,
    /// `category`
    pub category: Option<String>,
    /// `name`
    pub name: Option<String>,
    /// `host`
    pub host: Option<String>,
    /// `fields`
    pub fields: Vec<(String, String)>,
    /// `compression`: none, gzip or zstd.
    pub compression: Compression,
}

/// `type = "syslog"`
#[derive(Clone, Debug)]
pub struct SyslogSettings {
    /// The scheme of `address`.
    pub transport: SyslogTransport,
    /// The host of `address`.
    pub host: String,
    /// The port of `address`.
    pub port: u16,
    /// `facility`, 0 to 23.
    pub facility: u8,
    /// `severity`, 0 to 7.
    pub severity: u8,
    /// `app_name`
    pub app_name: String,
    /// `hostname`; the machine's own where it is left out.
    pub hostname: Option<String>,
    /// `message_bytes_max` of a whole syslog message.
    pub message_bytes_max: usize,
}

/// The scheme of a syslog address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogTransport {
    /// RFC 5426.
    Udp,
    /// RFC 6587 with octet counting.
    Tcp,
    /// RFC 5425.
    Tls,
    /// RELP, with an answer to every message.
    Relp,
    /// The same over TLS.
    RelpTls,
}

/// `type = "otlp"`
#[derive(Clone, Debug)]
pub struct OtlpSettings {
    /// `url`; `/v1/logs` is added where its path does not end with it.
    pub url: Url,
    /// `encoding`
    pub encoding: OtlpEncoding,
    /// `headers`, with names in lower case. Any value may be a secret.
    pub headers: Vec<(String, Secret)>,
    /// `bearer_token`, or `username` and `password`.
    pub credential: HttpCredential,
    /// `resource_attributes`
    pub resource_attributes: Vec<(String, String)>,
    /// `compression`: none or gzip.
    pub compression: Compression,
}

/// `encoding`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpEncoding {
    /// Binary protobuf.
    Protobuf,
    /// ProtoJSON, as OTLP has it.
    Json,
}

/// `type = "http"`
#[derive(Clone, Debug)]
pub struct HttpWebhookSettings {
    /// `url`: a secret as a whole, because many receivers put one into its path or query.
    pub url: Secret,
    /// `body`
    pub body: WebhookBody,
    /// `headers`, with names in lower case. Any value may be a secret.
    pub headers: Vec<(String, Secret)>,
    /// `bearer_token`, or `username` and `password`.
    pub credential: HttpCredential,
    /// `signing_secret` of Standard Webhooks; requests are not signed where it is left out.
    pub signing_secret: Option<Secret>,
    /// `compression`: none, gzip or zstd.
    pub compression: Compression,
}

/// `body`: how the records of a request are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookBody {
    /// One record per line.
    Ndjson,
    /// One JSON array.
    Array,
}

/// What goes into the `Authorization` header of an HTTP sink.
#[derive(Clone, Debug)]
pub enum HttpCredential {
    /// No such header.
    None,
    /// `Bearer …`, RFC 6750.
    Bearer(Secret),
    /// `ApiKey …`, Elasticsearch's own.
    ApiKey(Secret),
    /// `Basic …`, RFC 7617.
    Basic {
        /// The user, without a colon.
        username: String,
        /// The password.
        password: Secret,
    },
}

/// `type = "elasticsearch"`
#[derive(Clone, Debug)]
pub struct ElasticsearchSettings {
    /// `url` of the cluster.
    pub url: Url,
    /// `data_stream`, with `{org}`, `{stream}` and `{namespace}`.
    pub data_stream: String,
    /// `namespace`
    pub namespace: String,
    /// `api_key`, or `username` and `password`.
    pub credential: HttpCredential,
    /// `compression`: none or gzip.
    pub compression: Compression,
}
