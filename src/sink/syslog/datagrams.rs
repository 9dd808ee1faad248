//! UDP: one message, one datagram (RFC 5426).

use std::{io, net::SocketAddr, ops::Range, time::Duration};

use tokio::net::{UdpSocket, lookup_host};

use super::target::Target;
use crate::sink::{ErrorClass, Receipt, SinkError, Verdict};

/// The largest UDP payload over IPv4.
pub(super) const DATAGRAM_BYTES_MAX: usize = 65_507;
/// A receiver's socket holds a few hundred datagrams by default (Linux: 208 KiB, overhead included) and drops the rest. At 8 datagrams a
/// millisecond, a receiver that does not get the processor for 20 ms still loses none.
const BURST: usize = 16;
const REST: Duration = Duration::from_millis(2);
/// A closed port on a machine that is up is reported back; how long to wait for that report.
const REFUSAL_WAIT: Duration = Duration::from_millis(20);

/// A socket that is bound to a free port and meant for one receiver.
pub(super) async fn open(target: &Target) -> Result<UdpSocket, SinkError> {
    let failed = |error: io::Error| SinkError::new(ErrorClass::Retryable, format!("failed to open {target}: {error}; check the address"));
    let peer = lookup_host((target.host.as_str(), target.port)).await.map_err(failed)?.next();
    let peer = peer.ok_or_else(|| SinkError::new(ErrorClass::Retryable, format!("failed to open {target}: the name has no address")))?;
    let any: SocketAddr = if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.map_err(failed)?;
    socket.connect(peer).await.map_err(failed)?;
    Ok(socket)
}

/// Sends messages, each of them a range of `bytes`.
pub(super) async fn send(target: &Target, socket: &UdpSocket, bytes: &[u8], messages: &[Range<usize>]) -> Result<Receipt, SinkError> {
    for (index, message) in messages.iter().enumerate() {
        if let Err(error) = socket.send(&bytes[message.clone()]).await {
            return part_sent(target, &error, index, messages.len());
        }
        if index % BURST == BURST - 1 {
            tokio::time::sleep(REST).await;
        }
    }
    tokio::time::sleep(REFUSAL_WAIT).await;
    match socket.take_error() {
        Ok(None) => Ok(Receipt::All),
        Ok(Some(error)) | Err(error) => Err(refused(target, &error, ErrorClass::Ambiguous)),
    }
}

/// An error may belong to an earlier datagram, whose fate is unknown as that of every datagram is.
fn part_sent(target: &Target, error: &io::Error, sent: usize, all: usize) -> Result<Receipt, SinkError> {
    if sent == 0 || error.kind() == io::ErrorKind::ConnectionRefused {
        let class = if sent == 0 { ErrorClass::Retryable } else { ErrorClass::Ambiguous };
        return Err(refused(target, error, class));
    }
    let verdict = |index| if index < sent { Verdict::Accepted } else { Verdict::NotTaken };
    Ok(Receipt::Each((0..all).map(verdict).collect()))
}

fn refused(target: &Target, error: &io::Error, class: ErrorClass) -> SinkError {
    SinkError::new(class, format!("failed to send to {target}: {error}; check that the receiver listens there"))
}
