//! Syslog over RELP, with an answer to every message.

use std::collections::BTreeMap;

use miro_siem::sink::Built;
use testbed::{
    ledger::Keep,
    relp::{Relp, Say, WELCOME},
};

use crate::{
    cases::COUNT,
    subject::{Behaviour, Cannot, Subject, from_configuration, seen_by},
};

const NO_THROTTLE: Cannot = "RELP has no answer by which a receiver could ask us to wait: a busy one answers late";
const NO_BATCH: Cannot = "each event is a message of its own, and the limit is that of a message: nothing is too large by being too many";

struct RelpSubject(Relp);

pub(crate) async fn start() -> Box<dyn Subject> {
    Box::new(RelpSubject(Relp::start(Keep::Digests).expect("a receiver")))
}

impl RelpSubject {
    /// Says that to the first message from here on, and what it says after it to all others.
    fn once(&self, first: Say, then: Say) {
        let mut is_first = true;
        self.0.script(move |_, _| if std::mem::take(&mut is_first) { first } else { then });
    }
}

impl Subject for RelpSubject {
    fn build(&self) -> Built {
        from_configuration(&format!("type = \"syslog\"\naddress = \"{}\"", self.0.url()))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        match behaviour {
            Behaviour::Well => {
                self.0.welcome(WELCOME);
                self.0.script(|_, _| Say::Accept);
            }
            Behaviour::AnswersLate(wait) => self.once(Say::AcceptAfter(*wait), Say::Accept),
            Behaviour::Refuses(text) => {
                let text = text.clone();
                self.0.script(move |_, message| if message.contains(&text) { Say::Refuse("malformed") } else { Say::Accept });
            }
            Behaviour::ThrottlesFor(_) | Behaviour::ThrottlesOtherwise(_) => return Err(NO_THROTTLE),
            Behaviour::TooLarge => return Err(NO_BATCH),
            // RELP has no credentials but those of TLS; a receiver refuses a sender by refusing the session.
            Behaviour::RefusesCredentials => self.0.welcome("500 not permitted"),
            Behaviour::LosesAnswer => {
                let mut taken = 0;
                self.0.script(move |_, _| {
                    taken += 1;
                    match taken {
                        COUNT => Say::HangUp,
                        1..COUNT => Say::Nothing,
                        _ => Say::Accept,
                    }
                });
            }
            Behaviour::Stalls => self.0.script(|_, _| Say::Ignore),
        }
        Ok(())
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        assert_eq!(self.0.violations(), [] as [String; 0]);
        seen_by(self.0.ledger())
    }

    fn refusal_class(&self) -> &'static str {
        "config"
    }
}
