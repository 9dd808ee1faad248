//! A raw HTTP/1.1 client, so that the tests see what is on the wire.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::{io::Write, net::SocketAddr, sync::Arc, time::Duration};

use flate2::{Compression, write::GzEncoder};
use rustls::{ClientConfig, pki_types::ServerName};
use testbed::ca::{Ca, Identity};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Nothing here should take this long.
const TIMEOUT: Duration = Duration::from_secs(20);

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// One connection.
pub(crate) struct Client {
    io: Box<dyn Io>,
}

/// What came back, as far as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why no whole answer came.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection was reset.
    Reset,
    /// It ended before any answer.
    Closed,
    /// It ended in the middle of an answer.
    Truncated,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("an answer in UTF-8")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("an answer in JSON")
    }

    pub(crate) fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text().as_str()), (status, body));
    }
}

impl Client {
    pub(crate) async fn plain(addr: SocketAddr) -> Self {
        Self { io: Box::new(TcpStream::connect(addr).await.expect("connect")) }
    }

    pub(crate) async fn tls(addr: SocketAddr, ca: &Ca) -> Self {
        Self::handshake(addr, client_config(ca, None)).await.expect("handshake")
    }

    pub(crate) async fn handshake(addr: SocketAddr, config: ClientConfig) -> std::io::Result<Self> {
        let socket = TcpStream::connect(addr).await?;
        let name = ServerName::from(addr.ip());
        let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        Ok(Self { io: Box::new(tls) })
    }

    /// Sends one request and reads its answer. `head` is the request line and headers, each ended with CRLF, without a length.
    pub(crate) async fn send(&mut self, head: &str, body: &[u8]) -> Result<Seen, Broken> {
        let mut bytes = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes).await
    }

    /// Sends bytes as they are and reads one answer.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> Result<Seen, Broken> {
        // A receiver may have reset the connection already; the answer, or its absence, is what counts.
        let _ = self.io.write_all(bytes).await;
        let _ = self.io.flush().await;
        timeout(TIMEOUT, self.answer()).await.expect("an answer or an end within the time limit")
    }

    async fn answer(&mut self) -> Result<Seen, Broken> {
        let mut bytes = Vec::new();
        loop {
            if let Some(seen) = parse(&bytes) {
                return Ok(seen);
            }
            match self.io.read_buf(&mut bytes).await {
                Ok(0) if bytes.is_empty() => return Err(Broken::Closed),
                Ok(0) => return Err(Broken::Truncated),
                Ok(_) => {}
                Err(err) if err.kind() == std::io::ErrorKind::UnexpectedEof && bytes.is_empty() => {
                    return Err(Broken::Closed);
                }
                Err(err) if err.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(Broken::Truncated);
                }
                Err(_) => return Err(Broken::Reset),
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Seen> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head in UTF-8");
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut seen = Seen { status, headers, body: Vec::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    let body = bytes.get(end + 4..end + 4 + length)?;
    seen.body = body.to_vec();
    Some(seen)
}

pub(crate) fn client_config(ca: &Ca, identity: Option<&Identity>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(ca.roots().expect("roots"));
    match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.private_key()).expect("a client identity"),
    }
}

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("gzip into memory");
    encoder.finish().expect("gzip into memory")
}
