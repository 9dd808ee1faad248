//! Syslog sinks for tests.

use std::path::Path;

use miro_siem::{
    config::settings::{Provenance, SyslogSettings, SyslogTransport, TlsSettings},
    sink::syslog::SyslogSink,
};

use super::pki::Identity;

pub(crate) fn settings(transport: SyslogTransport, port: u16) -> SyslogSettings {
    SyslogSettings {
        transport,
        host: "127.0.0.1".to_owned(),
        port,
        facility: 13,
        severity: 5,
        app_name: "miro-siem".to_owned(),
        hostname: None,
        message_bytes_max: 60_000,
    }
}

pub(crate) fn sink(transport: SyslogTransport, port: u16) -> SyslogSink {
    SyslogSink::new(&settings(transport, port), &TlsSettings::default(), Provenance::On).expect("nothing to go wrong")
}

/// One with TLS, for a receiver whose certificate is for `localhost`.
pub(crate) fn tls_sink(transport: SyslogTransport, port: u16, ca: &Path, client: Option<&Identity>) -> SyslogSink {
    let tls = TlsSettings {
        ca_file: Some(ca.to_owned()),
        cert_file: client.map(|client| client.cert_file.clone()),
        key_file: client.map(|client| client.key_file.clone()),
    };
    let settings = SyslogSettings { host: "localhost".to_owned(), ..settings(transport, port) };
    SyslogSink::new(&settings, &tls, Provenance::On).expect("the certificates are good")
}
