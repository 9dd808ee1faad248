//! Elasticsearch and OpenSearch.

use std::collections::BTreeMap;

use miro_siem::sink::Built;
use testbed::{
    Running,
    elastic::{Elastic, ElasticConfig},
    faults::Answer,
};

use crate::subject::{Behaviour, Cannot, Repeats, Subject, from_configuration, order_http, seen_by};

struct Elasticsearch(Running<Elastic>);

pub(crate) async fn start() -> Box<dyn Subject> {
    Box::new(Elasticsearch(Elastic::start(ElasticConfig::default()).expect("a cluster")))
}

impl Subject for Elasticsearch {
    fn build(&self) -> Built {
        let api_key = ElasticConfig::default().api_key;
        from_configuration(&format!("type = \"elasticsearch\"\nurl = \"{}\"\napi_key = \"{api_key}\"", self.0.url()))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        match behaviour {
            Behaviour::Refuses(text) => {
                self.0.service().refuse_documents_with(Some(text.as_bytes()));
                Ok(())
            }
            behaviour => {
                if let Behaviour::Well = behaviour {
                    self.0.service().refuse_documents_with(None);
                }
                order_http(&self.0, "/", &Answer::new(400, ""), behaviour)
            }
        }
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        seen_by(self.0.ledger())
    }

    fn repeats(&self) -> Repeats {
        Repeats::Dropped
    }
}
