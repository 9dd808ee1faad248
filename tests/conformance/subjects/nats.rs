//! NATS JetStream: the real server, behind a gate.

use std::{collections::BTreeMap, fs};

use async_nats::ConnectOptions;
use miro_siem::sink::Built;

use crate::{
    observer::Observer,
    real::{
        gate::{Gate, Mode},
        nats::NatsServer,
    },
    subject::{Behaviour, Cannot, Repeats, Subject, from_configuration},
};

const NO_REFUSAL: Cannot = "a stream takes any message that fits, whatever it holds";
const NO_THROTTLE: Cannot = "JetStream has no answer by which it could ask us to wait";
const NO_BATCH: Cannot = "each event is a message of its own, and the limit is that of a message: nothing is too large by being too many";

/// What begins a publish with headers, and what begins an acknowledgement.
const PUBLISH: &str = "HPUB miro.";
const ACKNOWLEDGEMENT: &str = "MSG _INBOX.";
const PASSWORD: &str = "right";

struct Nats {
    /// Runs as long as the subject.
    _server: NatsServer,
    gate: Gate,
    observer: Observer,
    /// With the password, which is read at each connection.
    dir: tempfile::TempDir,
}

fn admin() -> ConnectOptions {
    ConnectOptions::new().user_and_password("miro".to_owned(), PASSWORD.to_owned())
}

pub(crate) async fn start() -> Box<dyn Subject> {
    let server = NatsServer::start(&format!("authorization {{ user: miro, password: {PASSWORD} }}")).await;
    server.make_stream(admin()).await;
    let (gate, url) = (Gate::before(server.port).await, server.url());
    let observer = Observer::start(move |runtime| {
        let stream = runtime.block_on(async {
            let client = admin().connect(url).await.expect("a connection");
            async_nats::jetstream::new(client).get_stream("MIRO").await.expect("the stream")
        });
        // What is stored stays as it is: only what is new is fetched.
        let (mut seen, mut next) = (BTreeMap::new(), 1);
        move |runtime| {
            runtime.block_on(async {
                let last = stream.get_info().await.expect("its state").state.last_sequence;
                for sequence in next..=last {
                    let message = stream.get_raw_message(sequence).await.expect("a message");
                    let id = message.headers.get("Nats-Msg-Id").expect("an id").as_str();
                    *seen.entry(id.trim_start_matches("acme/audit/").to_owned()).or_default() += 1;
                }
                next = last + 1;
                seen.clone()
            })
        }
    });
    let subject = Nats { _server: server, gate, observer, dir: tempfile::tempdir().expect("a directory") };
    subject.write_password(PASSWORD);
    Box::new(subject)
}

impl Nats {
    fn write_password(&self, password: &str) {
        fs::write(self.dir.path().join("password"), password).expect("written");
    }
}

impl Subject for Nats {
    fn build(&self) -> Built {
        let password = self.dir.path().join("password");
        from_configuration(&format!(
            "type = \"nats\"\nservers = [\"nats://127.0.0.1:{}\"]\nusername = \"miro\"\npassword = {{ file = \"{}\" }}",
            self.gate.port,
            password.display()
        ))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        match behaviour {
            Behaviour::Well => {
                self.write_password(PASSWORD);
                self.gate.set(Mode::Open);
            }
            Behaviour::AnswersLate(wait) => self.gate.set(Mode::HoldReply(ACKNOWLEDGEMENT, *wait)),
            Behaviour::LosesAnswer => self.gate.set(Mode::CutReply(ACKNOWLEDGEMENT)),
            Behaviour::Stalls => self.gate.set(Mode::HoldRequests(PUBLISH)),
            Behaviour::RefusesCredentials => self.write_password("wrong"),
            Behaviour::Refuses(_) => return Err(NO_REFUSAL),
            Behaviour::ThrottlesFor(_) | Behaviour::ThrottlesOtherwise(_) => return Err(NO_THROTTLE),
            Behaviour::TooLarge => return Err(NO_BATCH),
        }
        Ok(())
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        self.observer.arrived()
    }

    fn repeats(&self) -> Repeats {
        Repeats::Dropped
    }
}
