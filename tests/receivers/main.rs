//! The HTTP sinks against stand-ins for their receivers: what each answer is taken for, and what arrives.

mod azure_identities;
mod azure_monitor;
mod elasticsearch;
mod http_webhook;
mod splunk_ack;
mod splunk_answers;
mod splunk_hec;
mod sumo;
mod support;
mod traces;
