//! An OpenTelemetry collector.

use std::collections::BTreeMap;

use miro_siem::sink::Built;
use testbed::{
    Running,
    faults::Answer,
    otlp::{Otlp, OtlpConfig},
};

use crate::subject::{Behaviour, Cannot, Subject, from_configuration, order_http, seen_by};

struct OtlpSubject {
    receiver: Running<Otlp>,
    encoding: &'static str,
}

pub(crate) async fn protobuf() -> Box<dyn Subject> {
    start("protobuf")
}

pub(crate) async fn json() -> Box<dyn Subject> {
    start("json")
}

fn start(encoding: &'static str) -> Box<dyn Subject> {
    let receiver = Otlp::start(OtlpConfig { bearer_token: Some("t".to_owned()), ..OtlpConfig::default() }).expect("a collector");
    Box::new(OtlpSubject { receiver, encoding })
}

impl Subject for OtlpSubject {
    fn build(&self) -> Built {
        let Self { receiver, encoding } = self;
        from_configuration(&format!("type = \"otlp\"\nurl = \"{}\"\nencoding = \"{encoding}\"\nbearer_token = \"t\"", receiver.url()))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        order_http(&self.receiver, "/v1/logs", &Answer::new(400, ""), behaviour)
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        seen_by(self.receiver.ledger())
    }
}
