//! The control port of `fake-receivers`: how a test in another process reads ledgers and orders faults.
//!
//! | request | does |
//! |---|---|
//! | `GET /_fake/ledger?receiver=hec` | the ledger, NDJSON of id, seen, altered, sha256 |
//! | `GET /_fake/counts` | totals, raw counters and, for Azure, losses, of every receiver |
//! | `POST /_fake/faults?receiver=hec` | adds rules, see [`parse_rules`]; `DELETE` removes them all |
//! | `POST /_fake/down?receiver=hec`, `POST /_fake/up?receiver=hec` | closes the port and every connection; opens it again |
//! | `POST /_fake/clear?receiver=hec` | forgets the events of the ledger |
//! | `POST /_fake/condition?is=busy` | sets HEC's [`Condition`] |
//! | `POST /_fake/role?is=missing` | sets Azure's [`Role`] |
//! | `POST /_fake/revoke` | revokes every Azure token |
//!
//! Receivers are `hec`, `azure`, `entra`, `identity` and `sumo`. Answers are 200 with a body, 204, 400 with a sentence, or 404.

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    azure::{Azure, Role},
    faults::{Faults, Take, parse_rules},
    hec::{Condition, Hec},
    http::{Head, Limits, Refusal, Reply, Request, Service},
    ledger::{Keep, Ledger},
    running::{Running, StartError},
    sumo::Sumo,
};

const BODY_BYTES_MAX: usize = 1 << 20;

/// The receivers of one process.
#[derive(Debug, Default)]
pub struct Control {
    pub hec: Option<Running<Hec>>,
    pub azure: Option<Azure>,
    pub sumo: Option<Running<Sumo>>,
}

/// What the control port needs of a receiver.
trait Receiver {
    fn ledger(&self) -> &Ledger;
    fn faults(&self) -> &Faults;
    fn up(&self) -> io::Result<()>;
    fn down(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl<S: Service> Receiver for Running<S> {
    fn ledger(&self) -> &Ledger {
        Self::ledger(self)
    }

    fn faults(&self) -> &Faults {
        Self::faults(self)
    }

    fn up(&self) -> io::Result<()> {
        Self::up(self)
    }

    fn down(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(Self::down(self))
    }
}

impl Control {
    /// Opens the control port. It needs tokio's multi-thread runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(self, listen: SocketAddr) -> Result<Running<Self>, StartError> {
        Running::start(listen, None, self, Arc::new(Ledger::new(Keep::Digests)))
    }

    fn receivers(&self) -> Vec<(&'static str, &dyn Receiver)> {
        let mut all: Vec<(&'static str, &dyn Receiver)> = Vec::new();
        if let Some(hec) = &self.hec {
            all.push(("hec", hec));
        }
        if let Some(azure) = &self.azure {
            all.push(("azure", azure.ingest()));
            all.push(("entra", azure.entra()));
            all.push(("identity", azure.identity()));
        }
        if let Some(sumo) = &self.sumo {
            all.push(("sumo", sumo));
        }
        all
    }

    /// The receiver that the query names; it need not when there is only one.
    fn named(&self, head: &Head) -> Result<&dyn Receiver, Reply> {
        let all = self.receivers();
        let name = head.query_value("receiver");
        let found = match (&name, all.as_slice()) {
            (None, [(_, only)]) => Some(*only),
            (None, _) => None,
            (Some(name), _) => all.iter().find(|(known, _)| known == name).map(|(_, receiver)| *receiver),
        };
        let known: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        found.ok_or_else(|| bad(&format!("the query needs receiver= one of: {}", known.join(", "))))
    }

    fn counts(&self) -> Reply {
        let mut all = serde_json::Map::new();
        for (name, receiver) in self.receivers() {
            let ledger = receiver.ledger();
            all.insert(name.to_owned(), json!({"totals": ledger.totals(), "counts": ledger.counts()}));
        }
        if let (Some(azure), Some(entry)) = (&self.azure, all.get_mut("azure")) {
            entry["losses"] = json!(azure.ingest().service().losses());
        }
        Reply::json(200, serde_json::Value::from(all).to_string())
    }

    fn answer(&self, request: &Request<'_>) -> Result<Reply, Reply> {
        let head = request.head;
        match (head.method.as_str(), head.path.as_str()) {
            ("GET", "/_fake/counts") => return Ok(self.counts()),
            ("GET", "/_fake/ledger") => {
                let body = self.named(head)?.ledger().ndjson();
                return Ok(Reply { status: 200, headers: vec![ndjson()], body });
            }
            ("POST", "/_fake/faults") => {
                let receiver = self.named(head)?;
                let rules = parse_rules(request.body).map_err(|err| bad(&err.to_string()))?;
                rules.into_iter().for_each(|rule| receiver.faults().add(rule));
            }
            ("DELETE", "/_fake/faults") => self.named(head)?.faults().clear(),
            ("POST", "/_fake/clear") => self.named(head)?.ledger().clear(),
            ("POST", "/_fake/up") => self.named(head)?.up().map_err(|err| bad(&err.to_string()))?,
            ("POST", "/_fake/down") => wait(self.named(head)?.down()),
            ("POST", "/_fake/condition") => {
                let hec = self.hec.as_ref().ok_or_else(|| bad("hec is not running"))?;
                hec.service().set_condition(setting::<Condition>(head)?);
            }
            ("POST", "/_fake/role") => self.azure()?.ingest().service().set_role(setting::<Role>(head)?),
            ("POST", "/_fake/revoke") => self.azure()?.revoke_tokens(),
            _ => return Err(Reply::empty(404)),
        }
        Ok(Reply::empty(204))
    }

    fn azure(&self) -> Result<&Azure, Reply> {
        self.azure.as_ref().ok_or_else(|| bad("azure is not running"))
    }
}

impl Service for Control {
    fn limits(&self) -> Limits {
        Limits { sent_bytes_max: BODY_BYTES_MAX, plain_bytes_max: BODY_BYTES_MAX, encodings: &[] }
    }

    fn refuse(&self, _head: &Head, why: Refusal) -> Reply {
        bad(&format!("the body cannot be read: {why:?}"))
    }

    fn handle(&self, request: &Request<'_>, _take: Take) -> Reply {
        self.answer(request).unwrap_or_else(|refusal| refusal)
    }
}

/// Handlers are plain functions, and this is the one that has to wait: when the answer is out, the port is closed.
fn wait(work: impl Future<Output = ()>) {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work));
}

fn setting<T: DeserializeOwned>(head: &Head) -> Result<T, Reply> {
    let value = head.query_value("is").unwrap_or_default();
    serde_json::from_value(json!(value)).map_err(|err| bad(&format!("the query needs is= a known state: {err}")))
}

fn bad(sentence: &str) -> Reply {
    Reply { status: 400, headers: Vec::new(), body: format!("{sentence}\n").into_bytes() }
}

fn ndjson() -> (String, String) {
    ("content-type".to_owned(), "application/x-ndjson".to_owned())
}
