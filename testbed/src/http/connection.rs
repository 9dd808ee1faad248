//! Serves one connection: request after request, each through the faults.

use std::time::Duration;

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use super::{
    Head, Refusal, Reply, Request, Service,
    decode::{Encoding, encoding_of, unpack},
    read::{self, ReadError},
    server::Shared,
    write::{After, cut, encode, scripted},
};
use crate::{
    faults::{Fault, Take, Then},
    ledger::Counters,
    wire::Wire,
};

/// How long a sender may be quiet between two requests. Splunk keeps idle connections for two hours, Sumo for thirty seconds; a
/// test that needs a dropped connection orders a reset.
const IDLE: Duration = Duration::from_secs(120);
/// A sender that does not read its answer for this long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long unread bytes are thrown away after a last answer, so that closing does not reset the connection under it.
const DRAIN: Duration = Duration::from_secs(1);
/// Buffers are kept for the next request up to this size.
const KEPT_BUFFER_BYTES: usize = 16 << 20;

/// Buffers of a connection, used again for each of its requests.
#[derive(Default)]
struct Buffers {
    incoming: BytesMut,
    sent: Vec<u8>,
    plain: Vec<u8>,
}

/// What became of the connection.
enum Next {
    Request,
    Close,
    Reset,
}

pub(super) async fn serve<S: Service>(mut wire: Wire, shared: &Shared<S>) {
    let mut buffers = Buffers::default();
    loop {
        match exchange(&mut wire, &mut buffers, shared).await {
            Next::Request => {}
            Next::Close => return,
            Next::Reset => return wire.reset(),
        }
        for buffer in [&mut buffers.sent, &mut buffers.plain] {
            buffer.clear();
            buffer.shrink_to(KEPT_BUFFER_BYTES);
        }
    }
}

async fn exchange<S: Service>(wire: &mut Wire, buffers: &mut Buffers, shared: &Shared<S>) -> Next {
    let head = match read::head(wire, &mut buffers.incoming, IDLE).await {
        Ok(Some(head)) => head,
        Ok(None) => return Next::Close,
        Err(err) => return give_up(wire, &err).await,
    };
    let counters = shared.ledger.counters();
    Counters::add(&counters.requests, 1);
    let fault = shared.faults.pick(&head.path);
    Counters::add(&counters.faults, u64::from(fault.is_some()));
    let fault = fault.unwrap_or_default();
    if fault.take == Take::Unread {
        return unread(wire, &fault).await;
    }
    let limit = shared.service.limits().sent_bytes_max;
    match body(wire, buffers, &head, limit).await {
        Ok(()) => {}
        Err(ReadError::TooLarge) => {
            let reply = shared.service.refuse(&head, Refusal::TooLarge);
            return last_answer(wire, &reply).await;
        }
        Err(err) => return give_up(wire, &err).await,
    }
    let (reply, fault) = answer(buffers, &head, fault, shared);
    sleep(fault.delay).await;
    conclude(wire, &head, fault.then, reply).await
}

async fn body(wire: &mut Wire, buffers: &mut Buffers, head: &Head, limit: usize) -> Result<(), ReadError> {
    let framing = read::framing(head)?;
    if head.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    read::body(wire, &mut buffers.incoming, framing, limit, &mut buffers.sent).await
}

/// Counts and decodes a body and hands it to the receiver; a body that a fault is about meets that one.
fn answer<S: Service>(buffers: &mut Buffers, head: &Head, fault: Fault, shared: &Shared<S>) -> (Reply, Fault) {
    let counters = shared.ledger.counters();
    let (body, sent_bytes) = match plain_body(buffers, head, shared) {
        Ok(read) => read,
        Err(refusal) => return (refusal, fault),
    };
    Counters::add(&counters.plain_bytes, body.len() as u64);
    let of_body = if fault == Fault::default() { shared.faults.pick_for_body(&head.path, body) } else { None };
    Counters::add(&counters.faults, u64::from(of_body.is_some()));
    let fault = of_body.unwrap_or(fault);
    (shared.service.handle(&Request { head, body, sent_bytes }, fault.take), fault)
}

/// The body, decompressed, and its size on the wire.
fn plain_body<'a, S: Service>(buffers: &'a mut Buffers, head: &Head, shared: &Shared<S>) -> Result<(&'a [u8], usize), Reply> {
    let limits = shared.service.limits();
    let Buffers { sent, plain, .. } = buffers;
    let counters = shared.ledger.counters();
    Counters::add(&counters.body_bytes, sent.len() as u64);
    let body: &[u8] = match encoding_of(head, &limits) {
        Err(why) => return Err(shared.service.refuse(head, why)),
        Ok(None) if sent.len() > limits.plain_bytes_max => return Err(shared.service.refuse(head, Refusal::TooLargeUnpacked)),
        Ok(None) => sent,
        Ok(Some(encoding)) => {
            if encoding == Encoding::Gzip {
                Counters::add(&counters.gzip_bytes, sent.len() as u64);
            }
            match unpack(encoding, sent, plain, limits.plain_bytes_max) {
                Err(why) => return Err(shared.service.refuse(head, why)),
                Ok(()) => plain,
            }
        }
    };
    Ok((body, sent.len()))
}

async fn conclude(wire: &mut Wire, head: &Head, then: Then, reply: Reply) -> Next {
    let wants_close = head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let after = if wants_close { After::Close } else { After::KeepAlive };
    let bytes = match then {
        Then::Usual => encode(&reply, after).0,
        Then::Answer(answer) => encode(&scripted(&answer), after).0,
        Then::Stall => return hold(wire).await,
        Then::Reset => return Next::Reset,
        Then::Truncate => {
            let bytes = cut(encode(&reply, After::KeepAlive));
            let _ = send(wire, &bytes).await;
            return Next::Close;
        }
    };
    match (send(wire, &bytes).await, after) {
        (Ok(()), After::KeepAlive) => Next::Request,
        (Ok(()), After::Close) | (Err(_), _) => Next::Close,
    }
}

/// Ends a connection whose body is left unread.
async fn unread(wire: &mut Wire, fault: &Fault) -> Next {
    sleep(fault.delay).await;
    match &fault.then {
        Then::Reset => Next::Reset,
        Then::Stall => stall(wire).await,
        Then::Answer(answer) => last_answer(wire, &scripted(answer)).await,
        // There is no usual answer to what was not read: the connection just ends.
        Then::Usual | Then::Truncate => Next::Close,
    }
}

/// Keeps the connection open and says nothing until the sender leaves.
async fn hold(wire: &mut Wire) -> Next {
    let mut ignored = [0; 1024];
    while let Ok(1..) = wire.read(&mut ignored).await {}
    Next::Close
}

/// Keeps the connection open without reading, so that the sender's writes get stuck too.
async fn stall(_wire: &mut Wire) -> Next {
    sleep(STALL_MAX).await;
    Next::Close
}

/// A sender that waits longer than this has no timeout at all.
const STALL_MAX: Duration = Duration::from_secs(600);

async fn give_up(wire: &mut Wire, err: &ReadError) -> Next {
    match err {
        ReadError::Io(_) => Next::Close,
        ReadError::Malformed(_) | ReadError::TooLarge => {
            last_answer(wire, &Reply { status: 400, headers: Vec::new(), body: err.to_string().into_bytes() }).await
        }
    }
}

async fn last_answer(wire: &mut Wire, reply: &Reply) -> Next {
    if send(wire, &encode(reply, After::Close).0).await.is_ok() && wire.shutdown().await.is_ok() {
        let _ = timeout(DRAIN, hold(wire)).await;
    }
    Next::Close
}

async fn send(wire: &mut Wire, bytes: &[u8]) -> std::io::Result<()> {
    let write = async {
        wire.write_all(bytes).await?;
        wire.flush().await
    };
    timeout(WRITE_TIMEOUT, write).await?
}
