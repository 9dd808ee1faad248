//! Azure Monitor's Logs Ingestion API.

use std::collections::BTreeMap;

use miro_siem::sink::Built;
use testbed::{
    azure::{Azure, AzureConfig, Role},
    ca::{Ca, ClientCertificates},
    faults::Answer,
};

use crate::subject::{Behaviour, Cannot, Subject, from_configuration, order_http, seen_by};

struct AzureMonitor {
    receiver: Azure,
    config: AzureConfig,
    dir: tempfile::TempDir,
}

pub(crate) async fn start() -> Box<dyn Subject> {
    let ca = Ca::new().expect("an authority");
    let tls = ca.local_server().and_then(|server| server.server_config(ClientCertificates::NotAsked)).expect("a TLS set-up");
    let (config, dir) = (AzureConfig::new(tls), tempfile::tempdir().expect("a directory"));
    std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("written");
    Box::new(AzureMonitor { receiver: Azure::start(config.clone()).expect("Azure starts"), config, dir })
}

impl Subject for AzureMonitor {
    fn build(&self) -> Built {
        let AzureConfig { dcr_id, tenant_id, client_id, client_secret, audience, .. } = &self.config;
        from_configuration(&format!(
            "type = \"azure_monitor\"\nendpoint = \"{}\"\nauthority = \"{}\"\nscope = \"{audience}/.default\"\ndcr_id = \"{dcr_id}\"\n\
             tenant_id = \"{tenant_id}\"\nclient_id = \"{client_id}\"\nclient_secret = \"{client_secret}\"\ntls = {{ ca_file = \"{}\" }}",
            self.receiver.ingest().url(),
            self.receiver.entra().url(),
            self.dir.path().join("ca.pem").display()
        ))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        let ingest = self.receiver.ingest();
        match behaviour {
            // The role that is missing, or not known yet: the 403 of the first half hour.
            Behaviour::RefusesCredentials => ingest.service().set_role(Role::Missing),
            behaviour => {
                if let Behaviour::Well = behaviour {
                    ingest.service().set_role(Role::Granted);
                }
                let refused = Answer::new(400, r#"{"error":{"code":"InvalidPayload","message":"The payload is malformed."}}"#);
                order_http(ingest, "/dataCollectionRules/", &refused, behaviour)?;
            }
        }
        Ok(())
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        seen_by(self.receiver.ingest().ledger())
    }
}
