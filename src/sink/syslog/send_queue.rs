//! How much of what was written the peer has not confirmed yet.
//!
//! A write to a TCP socket says only that our own kernel has the bytes. Linux tells in /proc how many of them the peer's kernel has not
//! confirmed; waiting for none means that a receiver's machine that has vanished, or a connection that a firewall has forgotten, does not
//! swallow a batch. Where /proc cannot be read, nothing is known and nothing is waited for.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Unconfirmed bytes of the connection between two addresses; `None` if that cannot be found out.
pub(super) fn unconfirmed_bytes(local: SocketAddr, peer: SocketAddr) -> Option<u64> {
    let table = match local.ip() {
        IpAddr::V4(_) => "/proc/self/net/tcp",
        IpAddr::V6(_) => "/proc/self/net/tcp6",
    };
    find(&fs::read_to_string(table).ok()?, &address(local), &address(peer))
}

/// The lines are `sl local_address rem_address st tx_queue:rx_queue …`, the numbers hexadecimal (proc_pid_net(5)).
fn find(table: &str, local: &str, peer: &str) -> Option<u64> {
    table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        if columns.next()? != local || columns.next()? != peer {
            return None;
        }
        let queues = columns.nth(1)?;
        u64::from_str_radix(queues.split_once(':')?.0, 16).ok()
    })
}

/// The kernel prints each 32-bit word of an address as a number of its own byte order.
fn address(address: SocketAddr) -> String {
    let words = |octets: &[u8]| -> String {
        let word = |bytes: &[u8]| bytes.try_into().map(u32::from_ne_bytes).unwrap_or_default();
        octets.chunks(4).map(|bytes| format!("{:08X}", word(bytes))).collect()
    };
    let ip = match address.ip() {
        IpAddr::V4(ip) => words(&Ipv4Addr::octets(&ip)),
        IpAddr::V6(ip) => words(&Ipv6Addr::octets(&ip)),
    };
    format!("{ip}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn bytes_that_the_peer_has_no_room_for_are_unconfirmed_until_it_reads() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(any).expect("a port");
            let mut stream = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
            let (mut peer, _) = listener.accept().expect("accepted");
            let unconfirmed = || unconfirmed_bytes(stream.local_addr().ok()?, stream.peer_addr().ok()?);
            assert_eq!(unconfirmed(), Some(0));
            stream.set_nonblocking(true).expect("set");
            let mut written = 0;
            while let Ok(some) = (&stream).write(&[0; 65_536]) {
                written += some;
            }
            assert!(unconfirmed().is_some_and(|bytes| bytes > 0), "{written} bytes were written");
            let mut sink = vec![0; written];
            peer.read_exact(&mut sink).expect("read");
            let confirmed = (0..200).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                unconfirmed() == Some(0)
            });
            assert!(confirmed, "{:?} are unconfirmed after everything was read", unconfirmed());
            stream.flush().expect("flushed");
        }
    }

    #[test]
    fn a_connection_that_is_not_listed_is_unknown() {
        let (one, other) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        assert_eq!(unconfirmed_bytes(one, other), None);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn addresses_are_written_as_the_kernel_writes_them() {
        assert_eq!(address(SocketAddr::from(([127, 0, 0, 1], 514))), "0100007F:0202");
        assert_eq!(address("[::1]:6514".parse().expect("an address")), "00000000000000000000000001000000:1972");
    }
}
