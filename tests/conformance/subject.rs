//! What the suite needs to know of a sink and its receiver.

use std::{collections::BTreeMap, path::Path, time::Duration};

use miro_siem::{
    config::{self, Environment},
    sink::{self, Built},
};
use testbed::{
    Running,
    faults::{Answer, Fault, RetryAfter, Rule},
    http::Service,
};

/// How long one delivery may take. A receiver that stalls costs a test this much.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than any test.
const ALWAYS: Duration = Duration::from_secs(3600);

/// Why a case cannot exist for a sink, as the table shows it.
pub(crate) type Cannot = &'static str;

/// A sink with its receiver.
pub(crate) trait Subject: Send + Sync {
    /// The sink as the daemon would have it, pointed at the receiver. [`from_configuration`] makes it from a `[sinks.x]` table.
    fn build(&self) -> Built;

    /// Makes the receiver behave so; `Err` says why this receiver has no such way to behave.
    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot>;

    /// How often each event has arrived, by the event's id.
    fn arrived(&self) -> BTreeMap<String, u32>;

    /// What becomes of an event that is sent again.
    fn repeats(&self) -> Repeats {
        Repeats::Kept
    }

    /// What an ack stands for.
    fn proof(&self) -> Proof {
        Proof::Taken
    }

    /// What the sink's answer to a broken credential or address is called: `auth` or `config`.
    fn refusal_class(&self) -> &'static str {
        "auth"
    }
}

/// How a receiver is to behave.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// From here on all is well: whatever was ordered before has been mended.
    Well,
    /// It takes the next delivery, and answers that much later.
    AnswersLate(Duration),
    /// It refuses every event that holds this text for good, until all is well.
    Refuses(String),
    /// It takes nothing of the next delivery and says for how long (`Retry-After` in seconds, or the protocol's own way).
    ThrottlesFor(Duration),
    /// The same by a date, in the answer's body, or whatever other way the protocol has.
    ThrottlesOtherwise(Duration),
    /// It refuses the next delivery as too large.
    TooLarge,
    /// It refuses our credentials (or address), until all is well.
    RefusesCredentials,
    /// It takes the next delivery, and the answer is lost.
    LosesAnswer,
    /// It says nothing to the next delivery, and takes nothing of it.
    Stalls,
}

/// What becomes of an event that is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// The receiver has it twice: a possible duplicate is counted.
    Kept,
    /// The receiver drops it by its id: sending again is safe, and nothing is counted.
    Dropped,
}

/// What an ack stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The receiver has said that it has the event.
    Taken,
    /// The event has left this machine: there is no answer.
    Sent,
}

/// A sink from the keys of its table, as the daemon makes it.
pub(crate) fn from_configuration(keys: &str) -> Built {
    // Short waits, so that failures do not take long; everything else is the sink's own default.
    let text = format!(
        "[orgs.acme]\ntoken = \"t\"\n[orgs.acme.audit]\n[sinks.subject]\nflush_interval = \"20ms\"\nretry_initial = \"20ms\"\n\
         retry_max = \"100ms\"\n{}\n{keys}\n",
        if keys.contains("\ntimeout") { String::new() } else { format!("timeout = \"{}ms\"", TIMEOUT.as_millis()) }
    );
    let loaded = config::load_text(Path::new("subject.toml"), &text, &Environment::from_iter([]));
    let settings = loaded.unwrap_or_else(|problems| panic!("{problems}\n{text}")).settings;
    sink::build(&settings.sinks[0]).unwrap_or_else(|error| panic!("{error}"))
}

/// Orders what any HTTP receiver can do; `refused` is its answer to a request that holds an event it does not take. Only requests whose
/// path holds `path` are meant.
pub(crate) fn order_http<S: Service>(receiver: &Running<S>, path: &str, refused: &Answer, behaviour: &Behaviour) -> Result<(), Cannot> {
    let busy = |retry_after| Fault::answer(Answer::new(429, "").retry_after(retry_after));
    let next = |fault| Rule::next(1, fault);
    let rule = match behaviour {
        Behaviour::Well => {
            receiver.faults().clear();
            return Ok(());
        }
        Behaviour::AnswersLate(wait) => next(Fault::delay(*wait)),
        Behaviour::Refuses(text) => Rule::holding(text.as_bytes(), Fault::answer(refused.clone())),
        Behaviour::ThrottlesFor(wait) => next(busy(RetryAfter::Seconds(*wait))),
        Behaviour::ThrottlesOtherwise(wait) => next(busy(RetryAfter::Date(*wait))),
        Behaviour::TooLarge => next(Fault::answer(Answer::new(413, ""))),
        Behaviour::RefusesCredentials => Rule::during(ALWAYS, Fault::answer(Answer::new(401, ""))),
        Behaviour::LosesAnswer => next(Fault::reset_after_taking()),
        Behaviour::Stalls => next(Fault::stall()),
    };
    receiver.faults().add(rule.on(path));
    Ok(())
}

/// What a ledger of the testbed has seen.
pub(crate) fn seen_by(ledger: &testbed::ledger::Ledger) -> BTreeMap<String, u32> {
    ledger.lines().into_iter().map(|line| (line.id, line.times_seen)).collect()
}
