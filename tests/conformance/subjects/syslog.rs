//! Syslog, which has no answer of its own.

use std::collections::BTreeMap;

use miro_siem::sink::Built;
use testbed::syslog::{self, Syslog, SyslogConfig, Transport};

use crate::subject::{Behaviour, Cannot, Proof, Subject, from_configuration, seen_by};

const NO_REFUSAL: Cannot = "syslog has no answer by which a receiver could refuse an event or an amount";
const NO_THROTTLE: Cannot = "syslog has no answer by which a receiver could ask us to wait: a busy one reads slower";
const NO_CREDENTIALS: Cannot = "syslog without TLS has no credentials";
const NO_CONNECTION: Cannot = "a datagram is sent and gone: nothing is waited for, so nothing can be late, lost in answering, or held up";

/// The receiver takes so little unread that a batch does not fit into its buffers.
const RECEIVE_BUFFER_BYTES: u32 = 2_048;

struct SyslogSubject {
    receiver: Syslog,
    transport: Transport,
}

pub(crate) async fn tcp() -> Box<dyn Subject> {
    start(Transport::Tcp)
}

pub(crate) async fn udp() -> Box<dyn Subject> {
    start(Transport::Udp)
}

fn start(transport: Transport) -> Box<dyn Subject> {
    let config = SyslogConfig { receive_buffer_bytes: Some(RECEIVE_BUFFER_BYTES), ..SyslogConfig::new(transport.clone()) };
    let config = if let Transport::Udp = transport { SyslogConfig::new(transport.clone()) } else { config };
    Box::new(SyslogSubject { receiver: Syslog::start(config).expect("a receiver"), transport })
}

impl Subject for SyslogSubject {
    fn build(&self) -> Built {
        from_configuration(&format!("type = \"syslog\"\naddress = \"{}\"", self.receiver.url()))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        let has_connection = !matches!(self.transport, Transport::Udp);
        match behaviour {
            Behaviour::Well => self.receiver.resume(),
            Behaviour::Refuses(_) | Behaviour::TooLarge => return Err(NO_REFUSAL),
            Behaviour::ThrottlesFor(_) | Behaviour::ThrottlesOtherwise(_) => return Err(NO_THROTTLE),
            Behaviour::RefusesCredentials => return Err(NO_CREDENTIALS),
            Behaviour::AnswersLate(_) | Behaviour::LosesAnswer | Behaviour::Stalls if !has_connection => return Err(NO_CONNECTION),
            // What it does not read does not fit into the buffers between, and so is not confirmed.
            Behaviour::AnswersLate(wait) => {
                self.receiver.script(syslog::Behaviour::StallAfter { messages: 0 });
                self.receiver.resume_after(*wait);
            }
            Behaviour::Stalls => self.receiver.script(syslog::Behaviour::StallAfter { messages: 0 }),
            Behaviour::LosesAnswer => self.receiver.script(syslog::Behaviour::ResetWithin { messages: 40, bytes: 0 }),
        }
        Ok(())
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        seen_by(self.receiver.ledger())
    }

    fn proof(&self) -> Proof {
        Proof::Sent
    }
}
