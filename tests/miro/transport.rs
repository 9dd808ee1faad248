//! Between us and Miro: names, connections, TLS, proxies, time.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use miro_siem::{
    config::settings::TlsSettings,
    miro::{LogClient, LogKind, MiroClass, MiroError, OrgId},
    net,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    client::{client_with, connection, connection_to, first_page, static_token},
    server::{EMPTY_PAGE, Request, Server, Step, json, read_request},
};

/// A certificate authority of the test's own.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        net::install_tls_provider();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { dir, issuer }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a client needs to trust it.
    fn trust(&self) -> TlsSettings {
        TlsSettings { ca_file: Some(self.file("ca.pem")), ..TlsSettings::default() }
    }

    fn issue(&self, name: &str) -> (Vec<rustls::pki_types::CertificateDer<'static>>, KeyPair, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate =
            CertificateParams::new([name.to_owned()]).and_then(|params| params.signed_by(&key, &self.issuer)).expect("a certificate");
        (vec![certificate.der().clone()], key, certificate.pem())
    }

    /// A server that shows a certificate for this name.
    fn server(&self, name: &str) -> rustls::ServerConfig {
        let (chain, key, _) = self.issue(name);
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("a server")
    }

    /// A server that asks for a certificate of ours.
    fn strict_server(&self, name: &str) -> rustls::ServerConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a root");
        let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier");
        let (chain, key, _) = self.issue(name);
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        rustls::ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key).expect("a server")
    }

    /// A client certificate, in files.
    fn client(&self) -> TlsSettings {
        let (_, key, pem) = self.issue("client");
        std::fs::write(self.file("client.pem"), pem).expect("written");
        std::fs::write(self.file("client.key"), key.serialize_pem()).expect("written");
        TlsSettings { cert_file: Some(self.file("client.pem")), key_file: Some(self.file("client.key")), ..self.trust() }
    }
}

fn client_to(api_url: &str, tls: &TlsSettings) -> LogClient {
    let connection = connection_to(&api_url.parse().expect("an address"), tls);
    client_with(connection, LogKind::Audit, OrgId::from_the_token(), static_token())
}

#[track_caller]
fn check(error: &MiroError, label: &str, words: &[&str]) {
    assert_eq!((error.class(), error.label(), error.status()), (MiroClass::Retryable, label, None), "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
}

#[tokio::test]
async fn a_name_without_address_is_a_fault_of_dns() {
    let error = first_page(&client_to("https://api.miro.invalid", &TlsSettings::default())).await.expect_err("no such name");
    check(&error, "dns", &["the name of api.miro.invalid has no address", "check DNS"]);
}

#[tokio::test]
async fn a_closed_port_is_a_fault_of_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error = first_page(&client_to(&format!("http://{address}"), &TlsSettings::default())).await.expect_err("a closed port");
    check(&error, "connect", &[&format!("no connection to {address}"), "refused", "firewall"]);
}

#[tokio::test]
async fn no_answer_in_time_is_a_timeout() {
    let server = Server::start(|_| vec![Step::Wait(Duration::from_secs(600))]).await;
    let mut connection = connection(&server);
    connection.limits.total = Duration::from_millis(200);
    let client = client_with(connection, LogKind::Audit, OrgId::from_the_token(), static_token());
    check(&first_page(&client).await.expect_err("no answer"), "timeout", &["no whole answer", "within 1 s"]);
}

#[tokio::test]
async fn an_answer_that_trickles_on_is_ended_by_the_timeout() {
    let drip: Vec<Step> = (0..600).flat_map(|_| [Step::Send(b" ".to_vec()), Step::Wait(Duration::from_millis(50))]).collect();
    let head = Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n".to_vec());
    let server = Server::start(move |_| std::iter::once(head.clone()).chain(drip.clone()).collect()).await;
    let mut connection = connection(&server);
    connection.limits.total = Duration::from_millis(800);
    let client = client_with(connection, LogKind::Audit, OrgId::from_the_token(), static_token());
    check(&first_page(&client).await.expect_err("no end"), "timeout", &["no whole answer"]);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_broken() {
    for end in [Step::Close, Step::Reset] {
        let server = Server::start(move |_| vec![end.clone()]).await;
        let client = client_with(connection(&server), LogKind::Audit, OrgId::from_the_token(), static_token());
        check(&first_page(&client).await.expect_err("no answer"), "broken", &["broke"]);
    }
}

#[tokio::test]
async fn a_certificate_is_trusted_through_ca_file_and_not_without() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server("localhost"), |_| json(EMPTY_PAGE)).await;
    let url = format!("https://localhost:{}", server.address.port());
    first_page(&client_to(&url, &authority.trust())).await.expect("trusted");
    assert_eq!(server.requests().len(), 1);
    for stranger in [TlsSettings::default(), Authority::new().trust()] {
        let error = first_page(&client_to(&url, &stranger)).await.expect_err("not trusted");
        check(&error, "tls", &["no trusted TLS connection to localhost", "certificate", "tls.ca_file"]);
    }
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server("elsewhere.test"), |_| json(EMPTY_PAGE)).await;
    let url = format!("https://localhost:{}", server.address.port());
    check(&first_page(&client_to(&url, &authority.trust())).await.expect_err("another name"), "tls", &["certificate"]);
    assert!(server.requests().is_empty(), "the token was sent to a stranger");
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_a_fault_of_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
        stream
    });
    check(&first_page(&client_to(&url, &TlsSettings::default())).await.expect_err("no TLS"), "tls", &["no trusted TLS connection"]);
    peer.await.expect("no panic");
}

#[tokio::test]
async fn our_own_certificate_is_shown_to_a_server_that_asks_for_it() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.strict_server("localhost"), |_| json(EMPTY_PAGE)).await;
    let url = format!("https://localhost:{}", server.address.port());
    first_page(&client_to(&url, &authority.client())).await.expect("a certificate was shown");
    let error = first_page(&client_to(&url, &authority.trust())).await.expect_err("none was shown");
    check(&error, "tls", &["no trusted TLS connection"]);
}

/// A proxy that keeps what it was asked. It tunnels to `target` whatever name was asked for, and answers plain requests itself.
async fn proxy(target: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let Some(request) = read_request(&mut stream).await else { return };
                let tunnel = request.line.starts_with("CONNECT ");
                kept.lock().expect("no panic").push(request);
                if tunnel {
                    let mut there = TcpStream::connect(target).await.expect("the target");
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("written");
                    let _ = copy_bidirectional(&mut stream, &mut there).await;
                } else {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{EMPTY_PAGE}", EMPTY_PAGE.len());
                    stream.write_all(answer.as_bytes()).await.expect("written");
                }
            });
        }
    });
    (address, asked)
}

/// The environment of a process cannot be changed safely while it runs, so the part that needs a proxy in its environment is this very test in a
/// process of its own.
const CHILD: &str = "MIRO_SIEM_TEST_PROXY_CHILD";

async fn run_behind_proxy(test: &str, environment: &[(&str, String)], url: &str, ca_file: &Path) {
    let mut command = tokio::process::Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--nocapture"]).env(CHILD, format!("{url} {}", ca_file.display()));
    command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    let output = command.output().await.expect("a process");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("page through the proxy: ok"), "{text}");
}

/// The child's part: one page. Returns whether this process is a child.
#[expect(clippy::print_stdout, reason = "what the parent looks for")]
async fn was_child() -> bool {
    let Ok(order) = std::env::var(CHILD) else { return false };
    let (url, ca_file) = order.split_once(' ').expect("an order");
    let tls = TlsSettings { ca_file: Some(ca_file.into()), ..TlsSettings::default() };
    first_page(&client_to(url, &tls)).await.expect("a page");
    println!("page through the proxy: ok");
    true
}

#[tokio::test]
async fn https_goes_through_the_tunnel_of_a_proxy_in_the_environment() {
    if was_child().await {
        return;
    }
    let authority = Authority::new();
    let server = Server::start_tls(authority.server("api.miro.test"), |_| json(EMPTY_PAGE)).await;
    let (address, asked) = proxy(server.address).await;
    let environment = [("HTTPS_PROXY", format!("http://user:secret@{address}"))];
    let test = "transport::https_goes_through_the_tunnel_of_a_proxy_in_the_environment";
    run_behind_proxy(test, &environment, "https://api.miro.test", &authority.file("ca.pem")).await;
    let asked = asked.lock().expect("no panic");
    assert_eq!(asked[0].line, "CONNECT api.miro.test:443 HTTP/1.1");
    assert_eq!(asked[0].header("proxy-authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(asked[0].header("authorization"), None, "the proxy has seen the token");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn http_goes_through_a_proxy_in_the_environment_unless_no_proxy_names_the_host() {
    if was_child().await {
        return;
    }
    let authority = Authority::new();
    let server = Server::start(|_| json(EMPTY_PAGE)).await;
    let (address, asked) = proxy(server.address).await;
    let test = "transport::http_goes_through_a_proxy_in_the_environment_unless_no_proxy_names_the_host";
    let proxied = [("HTTP_PROXY", format!("http://{address}"))];
    run_behind_proxy(test, &proxied, "http://api.miro.test/base", &authority.file("ca.pem")).await;
    assert!(asked.lock().expect("no panic")[0].line.starts_with("GET http://api.miro.test/base/v2/audit/logs?"));
    assert!(server.requests().is_empty());
    let excepted = [("HTTP_PROXY", format!("http://{address}")), ("NO_PROXY", "127.0.0.1".to_owned())];
    run_behind_proxy(test, &excepted, server.url().as_str(), &authority.file("ca.pem")).await;
    assert_eq!((asked.lock().expect("no panic").len(), server.requests().len()), (1, 1));
}
