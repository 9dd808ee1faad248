//! Splunk HEC, with and without indexer acknowledgement.

use std::{collections::BTreeMap, time::Duration};

use miro_siem::sink::Built;
use testbed::{
    Running,
    faults::Answer,
    hec::{Acks, Hec, HecConfig},
};

use crate::subject::{Behaviour, Cannot, Subject, from_configuration, order_http, seen_by};

const TOKEN: &str = "11111111-2222-4333-8444-555555555555";

struct SplunkHec {
    receiver: Running<Hec>,
    ack: bool,
}

pub(crate) async fn without_ack() -> Box<dyn Subject> {
    start(Acks::Off)
}

pub(crate) async fn with_ack() -> Box<dyn Subject> {
    start(Acks::at_once())
}

fn start(acks: Acks) -> Box<dyn Subject> {
    let config = HecConfig { token: TOKEN.to_owned(), acks, ..HecConfig::default() };
    Box::new(SplunkHec { receiver: Hec::start(config).expect("HEC starts"), ack: acks != Acks::Off })
}

impl Subject for SplunkHec {
    fn build(&self) -> Built {
        let Self { receiver, ack } = self;
        from_configuration(&format!("type = \"splunk_hec\"\nurl = \"{}\"\ntoken = \"{TOKEN}\"\nack = {ack}", receiver.url()))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        let service = self.receiver.service();
        match behaviour {
            // HEC says which one it is, and has taken those before it.
            Behaviour::Refuses(text) => service.refuse_events_with(Some(text.as_bytes())),
            // Indexers that take their time are late with their acknowledgement, not with the answer.
            Behaviour::AnswersLate(wait) if self.ack => service.set_ack_delay(*wait),
            Behaviour::Well => {
                service.refuse_events_with(None);
                service.set_ack_delay(Duration::ZERO);
                self.receiver.faults().clear();
            }
            other => {
                // An empty answer, as a balancer in between would give.
                order_http(&self.receiver, "/services/collector/event", &Answer::new(400, ""), other)?;
            }
        }
        Ok(())
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        seen_by(self.receiver.ledger())
    }
}
