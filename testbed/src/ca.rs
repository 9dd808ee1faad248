//! A certificate authority for tests: it signs server and client certificates and writes them as PEM files.
//!
//! Keys are ECDSA P-256 and live as long as the value; nothing here is fit for anything but tests.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

/// Names that a server certificate of this machine carries.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("make a TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
    #[error("make a client certificate check: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("write {}: {source}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A self-signed authority.
#[derive(Debug)]
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate signed by a [`Ca`], with its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    certificate_pem: String,
    key: KeyPair,
}

/// Where [`Ca::write_to`] put things, all PEM.
#[derive(Debug, Clone)]
pub struct CaFiles {
    pub ca: PathBuf,
    pub server_certificate: PathBuf,
    pub server_key: PathBuf,
    pub client_certificate: PathBuf,
    pub client_key: PathBuf,
}

impl Ca {
    /// # Errors
    /// When the key or the certificate cannot be made.
    pub fn new() -> Result<Self, CaError> {
        let mut params = named("testbed authority", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// The authority's certificate, PEM: what a client has to trust.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The authority's certificate as a set of roots.
    ///
    /// # Errors
    /// When rustls does not take the certificate.
    pub fn roots(&self) -> Result<RootCertStore, CaError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        Ok(roots)
    }

    /// A server certificate for localhost, 127.0.0.1 and ::1.
    ///
    /// # Errors
    /// When the key or the certificate cannot be made.
    pub fn local_server(&self) -> Result<Identity, CaError> {
        self.server(&LOCAL_NAMES)
    }

    /// A server certificate for `names`: wrong names make a certificate that a client has to refuse.
    ///
    /// # Errors
    /// When the key or the certificate cannot be made.
    pub fn server(&self, names: &[&str]) -> Result<Identity, CaError> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign(named("testbed server", names)?, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate with `name` as its common name.
    ///
    /// # Errors
    /// When the key or the certificate cannot be made.
    pub fn client(&self, name: &str) -> Result<Identity, CaError> {
        self.sign(named(name, Vec::new())?, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Identity, CaError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { chain: vec![certificate.der().clone()], certificate_pem: certificate.pem(), key })
    }

    /// Writes the authority, one server and one client identity into `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// When a certificate cannot be made or a file cannot be written.
    pub fn write_to(&self, dir: &Path, server: &Identity, client: &Identity) -> Result<CaFiles, CaError> {
        let files = CaFiles {
            ca: dir.join("ca.pem"),
            server_certificate: dir.join("server.pem"),
            server_key: dir.join("server.key"),
            client_certificate: dir.join("client.pem"),
            client_key: dir.join("client.key"),
        };
        std::fs::create_dir_all(dir).map_err(|source| CaError::Write { path: dir.to_owned(), source })?;
        for (path, pem) in [
            (&files.ca, self.pem()),
            (&files.server_certificate, server.certificate_pem()),
            (&files.server_key, server.key_pem()),
            (&files.client_certificate, client.certificate_pem()),
            (&files.client_key, client.key_pem()),
        ] {
            std::fs::write(path, pem).map_err(|source| CaError::Write { path: path.clone(), source })?;
        }
        Ok(files)
    }
}

/// Whether a TLS server asks its clients for a certificate.
#[derive(Debug, Clone, Copy)]
pub enum ClientCertificates<'a> {
    NotAsked,
    /// A client without a certificate of this authority fails in the handshake.
    Required(&'a Ca),
}

impl Identity {
    pub fn certificate_pem(&self) -> String {
        self.certificate_pem.clone()
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// A rustls server configuration for this identity, on the ring provider.
    ///
    /// # Errors
    /// When rustls does not take the certificate or the authority.
    pub fn server_config(&self, clients: ClientCertificates<'_>) -> Result<Arc<ServerConfig>, CaError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match clients {
            ClientCertificates::NotAsked => builder.with_no_client_auth(),
            ClientCertificates::Required(ca) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()?), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        Ok(Arc::new(builder.with_single_cert(self.chain(), self.private_key())?))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

fn named(common_name: &str, names: Vec<String>) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}
