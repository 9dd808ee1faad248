//! The sinks under test, one file each.

pub(crate) mod azure_monitor;
pub(crate) mod elasticsearch;
pub(crate) mod file;
pub(crate) mod hec_dialects;
pub(crate) mod http_webhook;
pub(crate) mod nats;
pub(crate) mod otlp;
pub(crate) mod relp;
pub(crate) mod s3;
pub(crate) mod splunk_hec;
pub(crate) mod stdout;
pub(crate) mod sumo;
pub(crate) mod syslog;
