//! The stdout sink, on writers that behave as terminals and pipes do.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use miro_siem::sink::{Batch, ErrorClass, Receipt, Sink, SinkError, stdout::StdoutSink};

use crate::support::{audit, began_at, event};

async fn deliver(sink: &StdoutSink, positions: std::ops::RangeInclusive<u64>) -> Result<Receipt, SinkError> {
    let events: Vec<_> = positions.map(|position| event(position, began_at())).collect();
    let (mut payloads, mut ends) = (Vec::new(), Vec::new());
    for event in &events {
        payloads.extend_from_slice(&event.raw);
        ends.push(payloads.len());
    }
    sink.deliver(Batch::new(&audit(), &events, &payloads, &ends)).await
}

fn lines(positions: std::ops::RangeInclusive<u64>) -> String {
    positions.map(|position| format!("{{\"id\":\"id-{position}\",\"event\":\"board_opened\"}}\n")).collect()
}

/// A writer whose every write is decided by a function, and what it has taken.
struct Writer<F> {
    decide: F,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl<F: FnMut(&[u8]) -> io::Result<usize> + Send> Write for Writer<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = (self.decide)(bytes)?;
        self.taken.lock().expect("no panic").extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn sink(decide: impl FnMut(&[u8]) -> io::Result<usize> + Send + 'static) -> (StdoutSink, impl Fn() -> String) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let sink = StdoutSink::on(Writer { decide, taken: taken.clone() }).expect("a thread");
    (sink, move || String::from_utf8(taken.lock().expect("no panic").clone()).expect("text"))
}

#[tokio::test]
async fn records_are_lines_in_order() {
    let (sink, taken) = sink(|bytes| Ok(bytes.len()));
    assert_eq!(deliver(&sink, 1..=3).await, Ok(Receipt::All));
    assert_eq!(deliver(&sink, 4..=4).await, Ok(Receipt::All));
    assert_eq!(taken(), lines(1..=4));
}

#[tokio::test]
async fn short_writes_interruptions_and_a_full_terminal_lose_nothing() {
    let mut turn = 0;
    let (sink, taken) = sink(move |bytes| {
        turn += 1;
        match turn % 4 {
            0 => Err(io::ErrorKind::Interrupted.into()),
            1 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(bytes.len().min(7)),
        }
    });
    assert_eq!(deliver(&sink, 1..=5).await, Ok(Receipt::All));
    assert_eq!(taken(), lines(1..=5));
}

#[tokio::test]
async fn a_closed_pipe_is_a_fault_that_pauses_and_no_panic() {
    let (sink, _) = sink(|_| Err(io::ErrorKind::BrokenPipe.into()));
    for _ in 0..2 {
        let error = deliver(&sink, 1..=1).await.expect_err("refused");
        assert_eq!(error.class(), ErrorClass::Config);
        assert!(error.to_string().contains("closed"), "{error}");
    }
    assert_eq!(sink.probe().await, Ok(()));
}

#[tokio::test]
async fn a_batch_that_was_given_up_while_nobody_read_is_not_written_twice() {
    let (go_on, wait) = mpsc::sync_channel::<()>(2);
    let (sink, taken) = sink(move |bytes| {
        wait.recv().expect("the test goes on");
        Ok(bytes.len())
    });
    for _ in 0..3 {
        let given_up = tokio::time::timeout(Duration::from_millis(20), deliver(&sink, 1..=2)).await;
        assert!(given_up.is_err(), "nobody reads");
    }
    go_on.send(()).expect("sent");
    go_on.send(()).expect("sent");
    assert_eq!(deliver(&sink, 1..=2).await, Ok(Receipt::All));
    assert_eq!(deliver(&sink, 3..=3).await, Ok(Receipt::All));
    assert_eq!(taken(), lines(1..=3));
}
