//! The sinks that connect, against stand-ins for their receivers or the real ones: what each answer is taken for, and what arrives.

mod azure_identities;
mod azure_monitor;
mod elasticsearch;
mod hec_dialects;
mod http_webhook;
mod nats;
mod otlp;
mod real;
mod s3;
mod splunk_ack;
mod splunk_answers;
mod splunk_hec;
mod sumo;
mod support;
mod traces;
