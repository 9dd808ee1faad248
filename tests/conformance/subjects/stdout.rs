//! Standard output, on a writer that behaves as pipes do.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use miro_siem::sink::{Built, stdout::StdoutSink};

use super::file::lines;
use crate::subject::{Behaviour, Cannot, Subject, from_configuration};

const NO_RECEIVER: Cannot = "a pipe's reader answers nothing: it reads, reads later, or has closed the pipe";
const ONE_WRITE: Cannot = "a write that was given up is waited for and not repeated: a pipe loses no answer";

#[derive(Default)]
struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    taken: Vec<u8>,
    is_closed: bool,
    is_held_up: bool,
    late: Duration,
}

struct Writer(Arc<Pipe>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock().expect("no panic");
        std::thread::sleep(std::mem::take(&mut state.late));
        state = self.0.changed.wait_while(state, |state| state.is_held_up).expect("no panic");
        if state.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.taken.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct StdoutSubject(Arc<Pipe>);

pub(crate) async fn start() -> Box<dyn Subject> {
    Box::new(StdoutSubject(Arc::default()))
}

impl StdoutSubject {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock().expect("no panic"));
        self.0.changed.notify_all();
    }
}

impl Subject for StdoutSubject {
    fn build(&self) -> Built {
        let sink = StdoutSink::on(Writer(self.0.clone())).expect("a thread");
        Built { sink: Arc::new(sink), ..from_configuration("type = \"stdout\"") }
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        match behaviour {
            Behaviour::Well => self.change(|state| *state = State { taken: std::mem::take(&mut state.taken), ..State::default() }),
            Behaviour::AnswersLate(wait) => self.change(|state| state.late = *wait),
            Behaviour::Stalls => self.change(|state| state.is_held_up = true),
            Behaviour::RefusesCredentials => self.change(|state| state.is_closed = true),
            Behaviour::LosesAnswer => return Err(ONE_WRITE),
            _ => return Err(NO_RECEIVER),
        }
        Ok(())
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        let taken = self.0.state.lock().expect("no panic").taken.clone();
        lines(&String::from_utf8(taken).expect("text"))
    }

    fn refusal_class(&self) -> &'static str {
        "config"
    }
}

impl Drop for StdoutSubject {
    /// The thread that writes must not be left behind.
    fn drop(&mut self) {
        self.change(|state| state.is_held_up = false);
    }
}
