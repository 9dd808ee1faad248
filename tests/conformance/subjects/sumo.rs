//! A Sumo Logic HTTP source.

use std::collections::BTreeMap;

use miro_siem::sink::Built;
use testbed::{
    Running,
    faults::Answer,
    sumo::{Sumo, SumoConfig},
};

use crate::subject::{Behaviour, Cannot, Subject, from_configuration, order_http, seen_by};

struct SumoLogic(Running<Sumo>);

pub(crate) async fn start() -> Box<dyn Subject> {
    Box::new(SumoLogic(Sumo::start(SumoConfig::default()).expect("Sumo starts")))
}

impl Subject for SumoLogic {
    fn build(&self) -> Built {
        from_configuration(&format!("type = \"sumo\"\nurl = \"{}{}\"", self.0.url(), self.0.service().path()))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        order_http(&self.0, "/receiver/", &Answer::new(400, "malformed"), behaviour)
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        seen_by(self.0.ledger())
    }
}
