//! `type = "stdout"`: one record a line on standard output.
//!
//! A batch counts as delivered when it is written and flushed: to a terminal, a pipe or a file that somebody else owns. Whoever reads
//! a pipe is the receiver, and what it does with what it has read is out of our sight.
//!
//! A reader that does not read blocks the write. It happens on a thread of its own, so that it blocks neither the runtime nor the end
//! of the process; a batch that was given up meanwhile is not written twice if its own write ends well after all.

use std::{
    fmt,
    io::{self, Write},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{Batch, ErrorClass, Receipt, Sink, SinkError, ndjson};
use crate::event::{Position, StreamId};

/// A terminal or pipe that was set to non-blocking by somebody else has no room: look again after this.
const NO_ROOM_WAIT: Duration = Duration::from_millis(5);

/// Writes lines to standard output, or to anything else that takes bytes.
pub struct StdoutSink {
    writer: mpsc::Sender<Job>,
    /// The write that is under way or was given up by the driver.
    under_way: Mutex<Option<UnderWay>>,
}

struct Job {
    lines: Vec<u8>,
    done: oneshot::Sender<io::Result<()>>,
}

#[derive(Debug)]
struct UnderWay {
    batch: BatchKey,
    done: oneshot::Receiver<io::Result<()>>,
}

/// What tells one batch from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BatchKey {
    stream: StreamId,
    first: Option<Position>,
    events: usize,
}

impl BatchKey {
    fn of(batch: Batch<'_>) -> Self {
        let first = batch.events().first().map(|event| event.position);
        Self { stream: batch.stream().clone(), first, events: batch.len() }
    }
}

impl StdoutSink {
    /// On standard output.
    pub fn new() -> io::Result<Self> {
        Self::on(io::stdout())
    }

    /// On another writer.
    pub fn on(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (writer, jobs) = mpsc::channel(1);
        std::thread::Builder::new().name("stdout".to_owned()).spawn(move || write_jobs(output, jobs))?;
        Ok(Self { writer, under_way: Mutex::new(None) })
    }

    async fn write(&self, batch: Batch<'_>) -> Result<Receipt, SinkError> {
        let mut under_way = self.under_way.lock().await;
        let key = BatchKey::of(batch);
        if let Some(earlier) = under_way.as_mut() {
            let result = (&mut earlier.done).await;
            let same = under_way.take().is_some_and(|earlier| earlier.batch == key);
            if same {
                return answer(result);
            }
        }
        let (done, result) = oneshot::channel();
        let job = Job { lines: ndjson::lines(batch), done };
        self.writer.send(job).await.map_err(|_| thread_gone())?;
        let earlier = under_way.insert(UnderWay { batch: key, done: result });
        let result = (&mut earlier.done).await;
        *under_way = None;
        answer(result)
    }
}

fn answer(result: Result<io::Result<()>, oneshot::error::RecvError>) -> Result<Receipt, SinkError> {
    match result {
        Ok(Ok(())) => Ok(Receipt::All),
        Ok(Err(error)) => Err(classify(&error)),
        Err(_) => Err(thread_gone()),
    }
}

fn thread_gone() -> SinkError {
    SinkError::new(ErrorClass::Config, "the thread that writes to stdout has ended; restart the daemon")
}

fn classify(error: &io::Error) -> SinkError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => SinkError::new(
            ErrorClass::Config,
            "failed to write to stdout: whoever read it has closed it. Events are kept; start the daemon with a reader again, or choose another sink",
        ),
        io::ErrorKind::StorageFull => SinkError::new(ErrorClass::Ambiguous, "failed to write to stdout: the disk behind it is full"),
        _ => SinkError::new(ErrorClass::Ambiguous, format!("failed to write to stdout: {error}")),
    }
}

/// The thread: one write after the other, until the sink is gone.
fn write_jobs(mut output: impl Write, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        let result = write_all(&mut output, &job.lines);
        // Nobody waits any more if the driver has given the batch up and the sink is going.
        let _ = job.done.send(result);
    }
}

fn write_all(output: &mut impl Write, mut lines: &[u8]) -> io::Result<()> {
    while !lines.is_empty() {
        match output.write(lines) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => lines = &lines[written..],
            Err(error) => wait_for_room(error)?,
        }
    }
    while let Err(error) = output.flush() {
        wait_for_room(error)?;
    }
    Ok(())
}

fn wait_for_room(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => {
            std::thread::sleep(NO_ROOM_WAIT);
            Ok(())
        }
        _ => Err(error),
    }
}

impl Sink for StdoutSink {
    fn probe(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        // Only a write shows whether somebody reads.
        Box::pin(async { Ok(()) })
    }

    fn deliver<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<Receipt, SinkError>> {
        Box::pin(self.write(batch))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}

impl fmt::Debug for StdoutSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StdoutSink")
    }
}
