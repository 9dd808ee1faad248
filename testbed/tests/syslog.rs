//! The syslog receiver, by real connections.

mod support;

use std::{io::ErrorKind, time::Duration};

use rustls::pki_types::ServerName;
use support::client_config;
use testbed::{
    ca::{Ca, ClientCertificates},
    ledger::{Digest, Keep},
    syslog::{Behaviour, Syslog, SyslogConfig, Transport},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);

fn message(id: &str) -> String {
    format!("<109>1 2026-01-02T03:04:05Z host miro-siem - audit - {{\"id\":\"{id}\"}}")
}

fn frame(id: &str) -> Vec<u8> {
    let message = message(id);
    format!("{} {message}", message.len()).into_bytes()
}

fn tcp() -> Syslog {
    Syslog::start(SyslogConfig { keep: Keep::Bytes, ..SyslogConfig::new(Transport::Tcp) }).expect("start")
}

async fn connect(syslog: &Syslog) -> TcpStream {
    TcpStream::connect(syslog.addr()).await.expect("connect")
}

/// How the receiver ended the connection: Ok for a close, or the kind of the error.
async fn end(io: &mut (impl AsyncRead + Unpin)) -> Result<usize, ErrorKind> {
    let read = timeout(PATIENCE, io.read(&mut [0; 16])).await.expect("an end in time");
    read.map_err(|err| err.kind())
}

#[tokio::test]
async fn messages_are_taken_however_their_bytes_arrive() {
    let syslog = tcp();
    let mut socket = connect(&syslog).await;
    let mut bytes = [frame("a"), frame("b")].concat();
    bytes.extend_from_slice(&frame("c")[..10]);
    socket.write_all(&bytes).await.expect("write");
    syslog.ledger().wait_for(2, PATIENCE).await.expect("two messages");
    socket.write_all(&frame("c")[10..]).await.expect("write");
    syslog.ledger().wait_for(3, PATIENCE).await.expect("three messages");
    assert_eq!(syslog.ledger().ids(), ["a", "b", "c"]);
    assert_eq!(syslog.ledger().digest_of("a"), Some(Digest::of(br#"{"id":"a"}"#)));
    assert_eq!(syslog.ledger().kept("a").expect("kept").context, message("a").into_bytes());
    assert_eq!(syslog.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_datagram_is_a_message() {
    let syslog = Syslog::start(SyslogConfig::new(Transport::Udp)).expect("start");
    assert!(syslog.url().starts_with("udp://127.0.0.1:"));
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    socket.send_to(message("a").as_bytes(), syslog.addr()).await.expect("send");
    syslog.ledger().wait_for(1, PATIENCE).await.expect("a message");
    syslog.down().await;
    socket.connect(syslog.addr()).await.expect("connect");
    socket.send(b"x").await.expect("the first send cannot know");
    assert_eq!(end_of(&socket).await, ErrorKind::ConnectionRefused);
    syslog.up().expect("up");
    socket.send(message("b").as_bytes()).await.expect("send");
    syslog.ledger().wait_for(2, PATIENCE).await.expect("a second message");
}

async fn end_of(socket: &UdpSocket) -> ErrorKind {
    let read = timeout(PATIENCE, socket.recv(&mut [0; 16])).await.expect("an end in time");
    read.expect_err("nobody sends here").kind()
}

#[tokio::test]
async fn a_script_closes_resets_within_a_frame_and_refuses() {
    let syslog = tcp();
    syslog.script(Behaviour::CloseAfter { messages: 1 });
    syslog.script(Behaviour::ResetWithin { messages: 1, bytes: 5 });
    syslog.script(Behaviour::Refuse);
    let mut socket = connect(&syslog).await;
    socket.write_all(&frame("a")).await.expect("write");
    assert_eq!(end(&mut socket).await, Ok(0));
    let mut socket = connect(&syslog).await;
    socket.write_all(&frame("b")).await.expect("write");
    socket.write_all(&frame("lost")[..20]).await.expect("write");
    assert_eq!(end(&mut socket).await, Err(ErrorKind::ConnectionReset));
    let mut socket = connect(&syslog).await;
    assert_eq!(end(&mut socket).await, Err(ErrorKind::ConnectionReset));
    let mut socket = connect(&syslog).await;
    socket.write_all(&frame("c")).await.expect("write");
    syslog.ledger().wait_for(3, PATIENCE).await.expect("three messages");
    assert_eq!(syslog.ledger().ids(), ["a", "b", "c"]);
    assert_eq!(syslog.ledger().counts().connections, 4);
}

#[tokio::test]
async fn a_stall_blocks_the_sender_until_it_is_resumed() {
    let config = SyslogConfig { receive_buffer_bytes: Some(4096), ..SyslogConfig::new(Transport::Tcp) };
    let syslog = Syslog::start(config).expect("start");
    syslog.script(Behaviour::StallAfter { messages: 1 });
    let mut socket = connect(&syslog).await;
    let frames: Vec<u8> = (0..100_000).flat_map(|n| frame(&n.to_string())).collect();
    let mut write = Box::pin(socket.write_all(&frames));
    assert!(timeout(Duration::from_millis(300), &mut write).await.is_err(), "8 MB fit into no buffer");
    assert_eq!(syslog.ledger().len(), 1);
    syslog.resume();
    timeout(Duration::from_secs(60), write).await.expect("the rest is taken").expect("write");
    syslog.ledger().wait_for(100_000, Duration::from_secs(60)).await.expect("every message");
}

#[tokio::test]
async fn a_wrong_count_and_a_message_that_is_not_rfc_5424_are_violations() {
    let syslog = tcp();
    let mut socket = connect(&syslog).await;
    socket.write_all(b"5 hello").await.expect("write");
    socket.write_all(b"<109>1 - - - - - - x\n").await.expect("write");
    assert_eq!(end(&mut socket).await, Ok(0));
    let violations = syslog.violations();
    assert_eq!(violations.len(), 2, "{violations:?}");
    assert!(violations[0].contains("begins with <") && violations[1].contains("not with a count"), "{violations:?}");
    assert_eq!(syslog.ledger().times_seen(&Digest::of(b"hello").to_string()), 1);
}

#[tokio::test]
async fn tls_may_require_a_client_certificate() {
    let ca = Ca::new().expect("ca");
    let server = ca.local_server().expect("server");
    let tls = server.server_config(ClientCertificates::Required(&ca)).expect("tls");
    let syslog = Syslog::start(SyslogConfig::new(Transport::Tls(tls))).expect("start");
    let known = ca.client("miro-siem").expect("client");
    let unknown = Ca::new().and_then(|other| other.client("miro-siem")).expect("client");
    for (identity, welcome) in [(None, false), (Some(&unknown), false), (Some(&known), true)] {
        let config = client_config(&ca, identity);
        let socket = connect(&syslog).await;
        let name = ServerName::from(syslog.addr().ip());
        let mut tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
            .connect(name, socket)
            .await
            .expect("with TLS 1.3 a client hears of its refusal only after the handshake");
        if welcome {
            tls.write_all(&frame("a")).await.expect("write");
            tls.flush().await.expect("flush");
            syslog.ledger().wait_for(1, PATIENCE).await.expect("a message");
        } else {
            assert!(end(&mut tls).await.is_err(), "an alert");
        }
    }
    assert_eq!(syslog.ledger().ids(), ["a"]);
}
