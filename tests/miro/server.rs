//! A scripted HTTP server: it answers what the test tells it to, down to the byte, and keeps what it was asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn bearer(&self) -> &str {
        self.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// The parameters of the query, decoded as any server decodes them.
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        let query = self.target().split_once('?').map_or("", |(_, query)| query);
        form(query)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.query().into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }
}

pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// What to do on the connection, in order.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Sends the same bytes again and again, until the other side has enough.
    SendForever(Vec<u8>),
    Wait(Duration),
    /// Ends the connection properly.
    Close,
    /// Ends the connection with a reset.
    Reset,
}

pub(crate) type Reply = Vec<Step>;

/// An answer with a length.
pub(crate) fn reply(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    vec![Step::Send(bytes)]
}

pub(crate) fn json(body: impl AsRef<[u8]>) -> Reply {
    reply(200, "Content-Type: application/json\r\n", body)
}

pub(crate) const EMPTY_PAGE: &str = r#"{"type":"cursor-list","limit":100,"size":0,"data":[]}"#;

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers each request with what `answer` says.
    pub(crate) async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(answer, None).await
    }

    /// The same behind TLS.
    pub(crate) async fn start_tls(tls: rustls::ServerConfig, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(answer, Some(tokio_rustls::TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn start_with(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (handler, kept): (Handler, _) = (Arc::new(answer), requests.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, tls.clone(), handler.clone(), kept.clone()));
            }
        });
        Self { address, requests, task }
    }

    pub(crate) fn url(&self) -> url::Url {
        format!("http://{}", self.address).parse().expect("an address")
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, tls: Option<tokio_rustls::TlsAcceptor>, handler: Handler, kept: Arc<Mutex<Vec<Request>>>) {
    match tls {
        // A client that does not trust the certificate ends the handshake: that is what such a test is about.
        Some(acceptor) => {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                converse(&mut stream, &handler, &kept).await;
            }
        }
        None => {
            let mut stream = stream;
            if converse(&mut stream, &handler, &kept).await == End::Reset {
                let _ = stream.set_zero_linger();
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

async fn converse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), handler: &Handler, kept: &Mutex<Vec<Request>>) -> End {
    while let Some(request) = read_request(stream).await {
        kept.lock().expect("no panic").push(request.clone());
        for step in handler(&request) {
            let sent = match step {
                Step::Send(bytes) => stream.write_all(&bytes).await,
                Step::SendForever(bytes) => loop {
                    if let Err(error) = stream.write_all(&bytes).await {
                        break Err(error);
                    }
                },
                Step::Wait(time) => {
                    tokio::time::sleep(time).await;
                    Ok(())
                }
                Step::Close => return End::Close,
                Step::Reset => return End::Reset,
            };
            if sent.is_err() {
                return End::Close;
            }
        }
    }
    End::Close
}

pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let (line, head) = head.split_once("\r\n").unwrap_or((&head, ""));
    let mut request = Request { line: line.to_owned(), head: head.to_owned(), body: String::new() };
    let length: usize = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        body.extend_from_slice(&piece[..read]);
    }
    request.body = String::from_utf8_lossy(&body).into_owned();
    Some(request)
}
