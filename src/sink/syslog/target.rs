//! Where messages go.

use std::fmt;

use crate::config::settings::{SyslogSettings, SyslogTransport};

/// The receiver's address; prints as in the configuration.
#[derive(Clone, Debug)]
pub(super) struct Target {
    transport: SyslogTransport,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Target {
    pub(super) fn of(settings: &SyslogSettings) -> Self {
        let bare = settings.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&settings.host);
        Self { transport: settings.transport, host: bare.to_owned(), port: settings.port }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            SyslogTransport::Udp => "udp",
            SyslogTransport::Tcp => "tcp",
            SyslogTransport::Tls => "tls",
            SyslogTransport::Relp | SyslogTransport::RelpTls => "relp",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}
