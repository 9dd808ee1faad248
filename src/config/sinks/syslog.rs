//! `type = "syslog"`

use super::{Connects, SinkType, is_written};
use crate::config::{
    address::{Facility, Severity, SyslogAddress},
    key::{Defaulted, Key, Optional, Required},
    problem::Faulty,
    scalar::ByteSize,
    settings::{Provenance, SinkKindSettings, SyslogSettings, SyslogTransport},
    table::Table,
};

/// RFC 5424, section 6.2.5 and 6.2.4.
const APP_NAME_BYTES_MAX: usize = 48;
const HOSTNAME_BYTES_MAX: usize = 255;
/// What fits into one UDP datagram over IPv4.
const DATAGRAM_BYTES_MAX: u64 = 65_507;

const ADDRESS: Key<SyslogAddress, Required> = Key::required(
    "address",
    "\"tls://siem.example.com:6514\"",
    "The receiver: udp:// (RFC 5426), tcp:// (octet counting of RFC 6587), tls:// (RFC 5425) or relp:// (RELP, with TLS where the sink \
     has a `tls` table of its own). The port is 514, 6514 with tls:// and 2514 with relp:// where it is left out.",
);
const FACILITY: Key<Facility, Defaulted> = Key::defaulted("facility", "audit", "The facility, by name or number; audit is 13.");
const SEVERITY: Key<Severity, Defaulted> = Key::defaulted("severity", "notice", "The severity, by name or number; notice is 5.");
const APP_NAME: Key<String, Defaulted> = Key::defaulted("app_name", "miro-siem", "APP-NAME of every message.")
    .limited("1 to 48 printable ASCII characters without spaces", |name| is_header_word(name, APP_NAME_BYTES_MAX));
const HOSTNAME: Key<String, Optional> = Key::optional("hostname", "\"siem-forwarder\"", "the machine's own", "HOSTNAME of every message.")
    .limited("1 to 255 printable ASCII characters without spaces", |name| is_header_word(name, HOSTNAME_BYTES_MAX));
const MESSAGE_BYTES_MAX: Key<ByteSize, Defaulted> = Key::defaulted(
    "message_bytes_max",
    "8192",
    "How large a message may be. A larger one is shrunk before it is sent; receivers would cut it, or split it into bogus ones.",
)
.limited("from 480 to 1MiB, at most 65507 over udp", |size| (480..=1 << 20).contains(&size.0));

pub(super) const TYPE: SinkType = SinkType {
    name: "syslog",
    doc: "RFC 5424 messages. Syslog has no acknowledgement, except over relp://: over the others, what is in a socket's buffer when the \
          receiver dies is lost. rsyslog cuts what is longer than its maxMessageSize (8 KiB), and over RELP acknowledges it all the same.",
    keys: &[&ADDRESS, &FACILITY, &SEVERITY, &APP_NAME, &HOSTNAME, &MESSAGE_BYTES_MAX],
    connects: Connects::Yes,
    provenance: Provenance::On,
    read,
};

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (address, facility, severity) = (table.take(&ADDRESS), table.take(&FACILITY), table.take(&SEVERITY));
    let (app_name, hostname, bytes_max) = (table.take(&APP_NAME), table.take(&HOSTNAME), table.take(&MESSAGE_BYTES_MAX));
    let (SyslogAddress { transport, host, port }, bytes_max) = (address?, bytes_max?.0);
    let transport = if transport == SyslogTransport::Relp && is_written(table, "tls") { SyslogTransport::RelpTls } else { transport };
    if transport == SyslogTransport::Udp && bytes_max > DATAGRAM_BYTES_MAX {
        return Err(table.problem(MESSAGE_BYTES_MAX.name, "needs to be at most 65507: a larger message fits into no datagram"));
    }
    if matches!(transport, SyslogTransport::Udp | SyslogTransport::Tcp) && table.raw("tls").is_some() {
        return Err(table.problem("tls", "has no meaning here: only an address with tls:// or relp:// opens a TLS connection"));
    }
    Ok(SinkKindSettings::Syslog(SyslogSettings {
        transport,
        host,
        port,
        facility: facility?.0,
        severity: severity?.0,
        app_name: app_name?,
        hostname: hostname?,
        message_bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
    }))
}

/// PRINTUSASCII of RFC 5424.
fn is_header_word(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
}
