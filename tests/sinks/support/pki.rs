//! A certificate authority for one test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// A certificate and its key, in PEM files.
pub(crate) struct Identity {
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

pub(crate) struct Pki {
    dir: PathBuf,
    /// For `localhost` and 127.0.0.1.
    pub(crate) server: Identity,
    /// For `collector.example.com`.
    pub(crate) client: Identity,
}

impl Pki {
    /// A new authority with one server and one client, in that directory.
    pub(crate) fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("a directory");
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.distinguished_name.push(DnType::CommonName, "test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = authority.self_signed(&key).expect("signed");
        fs::write(dir.join("ca.pem"), certificate.pem()).expect("written");
        let issuer = Issuer::new(authority, key);
        let server = identity(dir, "server", &["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth, &issuer);
        let client = identity(dir, "client", &["collector.example.com"], ExtendedKeyUsagePurpose::ClientAuth, &issuer);
        Self { dir: dir.to_owned(), server, client }
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }
}

fn identity(dir: &Path, name: &str, hosts: &[&str], usage: ExtendedKeyUsagePurpose, issuer: &Issuer<'_, KeyPair>) -> Identity {
    let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).expect("names");
    params.distinguished_name.push(DnType::CommonName, hosts[0]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("signed");
    let (cert_file, key_file) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    fs::write(&cert_file, certificate.pem()).expect("written");
    fs::write(&key_file, key.serialize_pem()).expect("written");
    Identity { cert_file, key_file }
}
