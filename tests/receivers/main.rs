//! The HTTP sinks against stand-ins for their receivers: what each answer is taken for, and what arrives.

mod splunk_ack;
mod splunk_answers;
mod splunk_hec;
mod support;
