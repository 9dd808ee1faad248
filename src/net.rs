//! Outgoing connections: one place where TLS, proxies and timeouts are set up, and where a transport error gets its name.

use std::{error::Error as _, path::Path, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use thiserror::Error;

use crate::{
    config::settings::{AdminTls, TlsSettings},
    event::Timestamp,
};

/// Tells receivers who is calling.
pub const USER_AGENT: &str = concat!("miro-siem/", env!("CARGO_PKG_VERSION"));

/// A connection that takes longer than this to open is not going to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Load balancers in front of receivers close idle sessions after 30 s (Sumo Logic's does); ours are closed first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(25);

/// Why TLS could not be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file holds no certificate or no key.
    #[error("{path} holds no {wanted} in PEM form")]
    Content {
        /// The file.
        path: String,
        /// What was looked for.
        wanted: &'static str,
    },
    /// One half of a client certificate is missing.
    #[error("tls.cert_file and tls.key_file belong together: both or neither")]
    Half,
    /// The TLS library refused the set-up.
    #[error("failed to set up TLS: {0}")]
    Setup(String),
}

/// Installs ring as the process's only TLS provider. Call it once, first thing; a second call changes nothing.
pub fn install_tls_provider() {
    // The error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An HTTP client with that TLS set-up. Proxies are taken from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. Redirects are not
/// followed: neither Miro's API nor any receiver redirects, and a redirect would carry the data elsewhere.
pub fn http_client(tls: &TlsSettings, timeout: Duration) -> Result<reqwest::Client, TlsError> {
    let config = client_tls(tls)?;
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .timeout(timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(config)
        .build()
        .map_err(|error| TlsError::Setup(describe(&error)))
}

/// A client for the daemon's own admin endpoint, which is never behind a proxy. With a certificate, that very one is expected: whatever
/// names it is for, and whoever has signed it. Without any timeout, because some answers have no end.
pub fn local_client(certificate: Option<&AdminTls>) -> Result<reqwest::Client, TlsError> {
    // A TLS set-up although it may be plain HTTP: the library's own fails where the system has no certificates.
    let mut config = client_tls(&TlsSettings::default())?;
    if let Some(certificate) = certificate {
        config.dangerous().set_certificate_verifier(std::sync::Arc::new(Expected::of(certificate)?));
    }
    let builder = reqwest::Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_TIMEOUT).no_proxy();
    builder.tls_backend_preconfigured(config).build().map_err(|error| TlsError::Setup(describe(&error)))
}

/// A client for the daemon's unix socket.
pub fn socket_client(path: &Path) -> Result<reqwest::Client, TlsError> {
    let config = client_tls(&TlsSettings::default())?;
    let builder = reqwest::Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_TIMEOUT).unix_socket(path.to_owned());
    builder.tls_backend_preconfigured(config).build().map_err(|error| TlsError::Setup(describe(&error)))
}

/// Takes one certificate and no other.
#[derive(Debug)]
struct Expected {
    certificate: rustls::pki_types::CertificateDer<'static>,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl Expected {
    fn of(files: &AdminTls) -> Result<Self, TlsError> {
        let wanted = || TlsError::Content { path: files.cert_file.display().to_string(), wanted: "certificate" };
        let certificate = certificates(&files.cert_file)?.into_iter().next().ok_or_else(wanted)?;
        Ok(Self { certificate, algorithms: rustls::crypto::ring::default_provider().signature_verification_algorithms })
    }
}

impl rustls::client::danger::ServerCertVerifier for Expected {
    fn verify_server_cert(
        &self,
        shown: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        if *shown == self.certificate {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("it shows another certificate than the one in admin.tls".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The rustls configuration for outgoing connections, without ALPN.
pub fn client_tls(tls: &TlsSettings) -> Result<rustls::ClientConfig, TlsError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(setup)?;
    let builder = match &tls.ca_file {
        Some(path) => builder.with_root_certificates(roots_from(path)?),
        None => match system_verifier(&provider) {
            Some(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
            None => builder.with_root_certificates(bundled_roots()),
        },
    };
    match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(setup),
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(TlsError::Half),
    }
}

/// The rustls configuration that the admin endpoint is served with: HTTP/1.1, no client certificates.
pub fn server_tls(tls: &AdminTls) -> Result<rustls::ServerConfig, TlsError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(setup)?;
    let (chain, key) = (certificates(&tls.cert_file)?, private_key(&tls.key_file)?);
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(setup)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The system's own verification; `None` where the system has no certificates, as in an image without any files.
fn system_verifier(
    provider: &std::sync::Arc<rustls::crypto::CryptoProvider>,
) -> Option<std::sync::Arc<dyn rustls::client::danger::ServerCertVerifier>> {
    let verifier = rustls_platform_verifier::Verifier::new(provider.clone()).ok()?;
    Some(std::sync::Arc::new(verifier))
}

/// Mozilla's roots, built in: a last resort, so that the program works in an empty image.
fn bundled_roots() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    roots
}

fn roots_from(path: &Path) -> Result<rustls::RootCertStore, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 { Err(TlsError::Content { path: path.display().to_string(), wanted: "usable certificate" }) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, TlsError> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let content = read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&content).filter_map(Result::ok).collect();
    if found.is_empty() { Err(TlsError::Content { path: path.display().to_string(), wanted: "certificate" }) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<rustls::pki_types::PrivateKeyDer<'static>, TlsError> {
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| TlsError::Content { path: path.display().to_string(), wanted: "private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.display().to_string(), source })
}

/// What went wrong between us and the other side, before there was an HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFault {
    /// The host name has no address.
    Dns,
    /// The connection was refused or could not be opened.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// No answer in time. The request may have arrived.
    Timeout,
    /// The connection broke after the request had begun. It may have arrived.
    Broken,
    /// The request could not be made at all: a defect, or a configuration that slipped through.
    Request,
}

impl TransportFault {
    /// Names the fault of a request that has no answer.
    pub fn of(error: &reqwest::Error) -> Self {
        if error.is_builder() {
            Self::Request
        } else if error.is_connect() {
            connect_fault(error)
        } else if error.is_timeout() {
            Self::Timeout
        } else if causes(error).any(is_tls_alert) {
            // With TLS 1.3 a server refuses our certificate, or the lack of one, only after the client's part of the handshake is over.
            Self::Tls
        } else {
            Self::Broken
        }
    }

    /// Whether the other side may have taken the request in.
    pub fn may_have_arrived(self) -> bool {
        matches!(self, Self::Timeout | Self::Broken)
    }

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Request => "request",
        }
    }
}

/// A name that was not found is told by its text alone, and so is a peer that hangs up during the handshake.
fn connect_fault(error: &reqwest::Error) -> TransportFault {
    let text = describe(error).to_ascii_lowercase();
    if causes(error).any(|cause| rustls_error(cause).is_some()) || text.contains("tls handshake") {
        TransportFault::Tls
    } else if text.contains("dns error") || text.contains("failed to lookup address") {
        TransportFault::Dns
    } else {
        TransportFault::Connect
    }
}

fn is_tls_alert(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(rustls_error(cause), Some(rustls::Error::AlertReceived(_)))
}

/// The error of the TLS library, also where it is wrapped, once or more, in one of the operating system's kind.
fn rustls_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    match cause.downcast_ref::<std::io::Error>() {
        Some(wrapper) => rustls_error(wrapper.get_ref()?),
        None => cause.downcast_ref::<rustls::Error>(),
    }
}

/// The error of the TLS library that a connection's error wraps, if it does.
pub(crate) fn tls_cause(error: &std::io::Error) -> Option<&rustls::Error> {
    rustls_error(error)
}

/// What lies behind an error, outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn std::error::Error + 'static)| (*cause).source())
}

/// The causes of an error, outermost first, without the URL: it may be a secret.
pub fn describe(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.dedup();
    if texts.is_empty() { "the request failed".to_owned() } else { texts.join(": ") }
}

/// Why an answer could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It is larger than it may be.
    TooLarge {
        /// How large it may be.
        bytes_max: u64,
    },
    /// Nothing came for that long in the middle of it.
    Stalled {
        /// For how long.
        after: Duration,
    },
    /// The connection failed.
    Transport {
        /// How.
        fault: TransportFault,
        /// The causes, see [`describe`].
        detail: String,
    },
}

impl BodyFault {
    /// The fault of a request that has no answer, or whose answer broke off.
    pub fn of(error: &reqwest::Error) -> Self {
        Self::Transport { fault: TransportFault::of(error), detail: describe(error) }
    }
}

/// Room that is made for a body before its first byte is there: the length that a server claims is not believed further than this.
const BODY_BYTES_BELIEVED: u64 = 1024 * 1024;

/// Reads a body to its end, up to `bytes_max`; `stall` bounds the wait for each piece. A body that announces itself as larger is refused
/// before any of it is read.
pub async fn read_body(mut response: reqwest::Response, bytes_max: u64, stall: Duration) -> Result<Bytes, BodyFault> {
    let too_large = BodyFault::TooLarge { bytes_max };
    let announced = response.content_length().unwrap_or(0);
    if announced > bytes_max {
        return Err(too_large);
    }
    let mut body = BytesMut::with_capacity(usize::try_from(announced.min(BODY_BYTES_BELIEVED)).unwrap_or(0));
    while let Some(piece) = next_piece(&mut response, stall).await? {
        if (body.len() + piece.len()) as u64 > bytes_max {
            return Err(too_large);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// Reads the beginning of a body, for an error's sake: whatever came before it ended, broke, stalled or reached `bytes_max`.
pub async fn read_body_start(mut response: reqwest::Response, bytes_max: usize, stall: Duration) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Some(piece)) = next_piece(&mut response, stall).await {
        let room = bytes_max - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if body.len() == bytes_max {
            break;
        }
    }
    body.freeze()
}

async fn next_piece(response: &mut reqwest::Response, stall: Duration) -> Result<Option<Bytes>, BodyFault> {
    match tokio::time::timeout(stall, response.chunk()).await {
        Ok(piece) => piece.map_err(|error| BodyFault::of(&error)),
        Err(_) => Err(BodyFault::Stalled { after: stall }),
    }
}

/// When the other side answered, by its own clock: the `Date` header.
pub fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// The wait that a server dictates: `Retry-After`, in seconds or as a date (RFC 9110 section 10.2.3). A date is measured against the
/// answer's own `Date`, so that a wrong clock on either side does not matter, else against `now`.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse::<u64>() {
        Ok(secs) => Some(Duration::from_secs(secs)),
        Err(_) => Some(http_date(value)?.since(server_time(headers).unwrap_or(now))),
    }
}

/// Reads a date in any of the three forms of RFC 9110 section 5.6.7.
pub fn http_date(text: &str) -> Option<Timestamp> {
    const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    FORMS.iter().find_map(|form| chrono::NaiveDateTime::parse_from_str(text.trim(), form).ok()).map(|time| time.and_utc().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_http_date_is_read() {
        let expected = Some(Timestamp::from_millis(784_111_777_000));
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(http_date(text), expected, "{text}");
        }
        assert_eq!(http_date("yesterday"), None);
    }

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expected: Option<Duration>) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (reqwest::header::HeaderName::from_static(name), reqwest::header::HeaderValue::from_static(value)))
            .collect();
        let now = Timestamp::from_millis(784_111_777_000);
        assert_eq!(retry_after(&headers, now), expected, "{headers:?}");
    }

    #[test]
    fn a_dictated_wait_is_read_in_both_forms() {
        check(&[], None);
        check(&[("retry-after", "soon")], None);
        check(&[("retry-after", "-1")], None);
        check(&[("retry-after", "7")], Some(Duration::from_secs(7)));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], Some(Duration::from_secs(10)));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:17 GMT")], Some(Duration::ZERO));
        check(
            &[("retry-after", "Sun, 06 Nov 1994 09:49:47 GMT"), ("date", "Sun, 06 Nov 1994 09:49:37 GMT")],
            Some(Duration::from_secs(10)),
        );
    }
}
