//! Any receiver of lines over HTTP.

use std::collections::BTreeMap;

use miro_siem::sink::Built;
use testbed::{
    Running,
    faults::Answer,
    sumo::{Sumo, SumoConfig},
};

use crate::subject::{Behaviour, Cannot, Subject, from_configuration, order_http, seen_by};

/// A source of lines is as good a receiver of lines as any.
struct HttpWebhook(Running<Sumo>);

pub(crate) async fn start() -> Box<dyn Subject> {
    Box::new(HttpWebhook(Sumo::start(SumoConfig::default()).expect("a receiver")))
}

impl Subject for HttpWebhook {
    fn build(&self) -> Built {
        from_configuration(&format!("type = \"http\"\nurl = \"{}{}\"\nbody = \"ndjson\"", self.0.url(), self.0.service().path()))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        order_http(&self.0, "/receiver/", &Answer::new(422, "malformed"), behaviour)
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        seen_by(self.0.ledger())
    }
}
