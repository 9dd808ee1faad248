//! A Miro whose token pairs die when they are replaced, and which forgets nothing that it was sent.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use crate::server::{EMPTY_PAGE, Reply, Request, Server, Step, form, json, reply};

pub(crate) const CLIENT_SECRET: &str = "cl13nt-s3cr3t-cl13nt-s3cr3t";
pub(crate) const SEED: &str = "eyJtaXJvLm9yaWdpbiI6ImV1MDEifQ_seed";

/// What the token endpoint does with the next requests.
#[derive(Clone, Debug)]
pub(crate) enum Whim {
    /// Rotates and answers.
    Fair,
    /// Rotates, and the answer is lost.
    LoseAnswer,
    /// Does nothing and answers this.
    Answer(Reply),
}

/// A Miro whose pairs die when they are replaced.
#[derive(Debug)]
pub(crate) struct Grants {
    pub(crate) refresh: String,
    pub(crate) access: String,
    rotations: u32,
    /// Every refresh token that came, in order.
    pub(crate) sent: Vec<String>,
    /// How many of them were not the one that was good.
    pub(crate) refused: u32,
    pub(crate) whim: Whim,
    /// The answer of a refresh; `ACCESS` and `REFRESH` are filled in.
    pub(crate) answer: &'static str,
    pub(crate) forms: Vec<Vec<(String, String)>>,
    /// Looked at while the token endpoint works: what is on disk at that moment.
    pub(crate) watched: Option<PathBuf>,
    pub(crate) seen_on_disk: Vec<String>,
}

pub(crate) type Miro = Arc<Mutex<Grants>>;

const ANSWER: &str = r#"{"token_type":"bearer","access_token":"ACCESS","refresh_token":"REFRESH","expires_in":3599,"scope":"auditlogs:read","team_id":3074457345821141234,"user_id":"3074457345821141235"}"#;

pub(crate) fn miro() -> Miro {
    Arc::new(Mutex::new(Grants {
        refresh: SEED.to_owned(),
        access: "none yet".to_owned(),
        rotations: 0,
        sent: Vec::new(),
        refused: 0,
        whim: Whim::Fair,
        answer: ANSWER,
        forms: Vec::new(),
        watched: None,
        seen_on_disk: Vec::new(),
    }))
}

impl Grants {
    fn rotate(&mut self) {
        self.rotations += 1;
        self.access = format!("eyJtaXJvLm9yaWdpbiI6ImV1MDEifQ_access{:04}", self.rotations);
        self.refresh = format!("eyJtaXJvLm9yaWdpbiI6ImV1MDEifQ_refresh{:04}", self.rotations);
    }

    pub(crate) fn token_endpoint(&mut self, request: &Request) -> Reply {
        let fields = form(&request.body);
        let field = |name: &str| fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone()).unwrap_or_default();
        let refresh = field("refresh_token");
        self.sent.push(refresh.clone());
        let secret = field("client_secret");
        self.forms.push(fields);
        if let Some(path) = &self.watched {
            self.seen_on_disk.push(std::fs::read_to_string(path).unwrap_or_default());
        }
        if let Whim::Answer(reply) = &self.whim {
            return reply.clone();
        }
        if secret != CLIENT_SECRET {
            return reply(401, "", r#"{"type":"error","code":"secretKeyNotFound","message":"Secret key not found","status":401}"#);
        }
        if refresh != self.refresh {
            self.refused += 1;
            return reply(401, "", r#"{"type":"error","code":"oauthError","message":"Invalid refresh token","status":401}"#);
        }
        self.rotate();
        match self.whim {
            Whim::LoseAnswer => vec![Step::Close],
            _ => json(self.answer.replace("ACCESS", &self.access).replace("REFRESH", &self.refresh)),
        }
    }

    fn page(&self, request: &Request) -> Reply {
        if request.bearer() == self.access {
            json(EMPTY_PAGE)
        } else {
            reply(401, "", r#"{"code":"tokenNotProvided","message":"expired"}"#)
        }
    }
}

pub(crate) async fn serve(miro: &Miro) -> Server {
    let miro = miro.clone();
    Server::start(move |request| {
        let mut grants = miro.lock().expect("no panic");
        if request.line.starts_with("POST /v1/oauth/token HTTP") { grants.token_endpoint(request) } else { grants.page(request) }
    })
    .await
}
