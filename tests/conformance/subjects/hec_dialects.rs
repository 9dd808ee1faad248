//! Collectors that speak HEC's protocol: LogScale and Cribl.

use std::collections::BTreeMap;

use miro_siem::sink::Built;
use testbed::{
    Running,
    faults::Answer,
    lookalikes::{Lookalike, LookalikeConfig, Product},
};

use crate::subject::{Behaviour, Cannot, Subject, from_configuration, order_http, seen_by};

struct HecDialect {
    receiver: Running<Lookalike>,
    dialect: &'static str,
    token: String,
}

pub(crate) async fn logscale() -> Box<dyn Subject> {
    start(Product::LogScale, "logscale")
}

pub(crate) async fn cribl() -> Box<dyn Subject> {
    start(Product::Cribl, "cribl")
}

fn start(product: Product, dialect: &'static str) -> Box<dyn Subject> {
    let config = LookalikeConfig::of(product);
    let token = config.token.clone();
    Box::new(HecDialect { receiver: Lookalike::start(config).expect("a collector"), dialect, token })
}

impl Subject for HecDialect {
    fn build(&self) -> Built {
        let Self { receiver, dialect, token } = self;
        let url = receiver.url();
        from_configuration(&format!("type = \"splunk_hec\"\ndialect = \"{dialect}\"\nurl = \"{url}\"\ntoken = \"{token}\""))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        order_http(&self.receiver, "/", &Answer::new(400, "Could not handle input"), behaviour)
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        seen_by(self.receiver.ledger())
    }
}
