//! `[state]`, `[admin]` and `[tls]`.

use std::{path::PathBuf, time::Duration};

use serde_json::Value as Json;

use super::{
    Secret,
    key::{Defaulted, Key, Keys, Optional},
    node::Node,
    problem::Faulty,
    scalar::{ByteSize, Listen},
    schema,
    settings::{AdminSettings, StateSettings, TlsSettings},
    table::{At, Table},
    value::Value,
};

/// The state directory of a service that has a configuration file.
pub(super) const STATE_DIR: &str = "/var/lib/miro-siem";

const DIR: Key<PathBuf, Defaulted> = Key::defaulted(
    "dir",
    STATE_DIR,
    "Where the journal and the checkpoints are. Left out, it is $STATE_DIRECTORY where systemd sets it; without a configuration file \
     $XDG_STATE_HOME/miro-siem or ~/.local/state/miro-siem.",
);
const JOURNAL_MAX: Key<ByteSize, Defaulted> = Key::defaulted(
    "journal_max",
    "10GiB",
    "How large the journal may grow while a sink is down. At this size collection pauses, nothing is dropped, and Miro keeps the events.",
)
.limited("at least 64KiB", |size| size.0 >= 64 << 10);
const DRAIN_TIMEOUT: Key<Duration, Defaulted> = Key::defaulted(
    "drain_timeout",
    "25s",
    "How long a stop may take to deliver what is collected. The rest is delivered after the next start.",
)
.limited("at most 1h", |timeout| *timeout <= Duration::from_secs(3600));

pub(super) const STATE_KEYS: Keys = &[&DIR, &JOURNAL_MAX, &DRAIN_TIMEOUT];

/// `[state]`; `dir` is what holds where it is left out.
pub(super) fn state(table: &Table<'_>, dir: PathBuf) -> Result<StateSettings, Faulty> {
    table.refuse_unknown(&[STATE_KEYS], |_| None);
    let dir = if table.raw(DIR.name).is_some() { table.take(&DIR) } else { Ok(dir) };
    let journal_max = table.take(&JOURNAL_MAX);
    let drain_timeout = table.take(&DRAIN_TIMEOUT);
    Ok(StateSettings { dir: dir?, journal_bytes_max: journal_max?.0, drain_timeout: drain_timeout? })
}

const LISTEN: Key<Listen, Defaulted> = Key::defaulted(
    "listen",
    "127.0.0.1:9494",
    "Where /healthz, /readyz, /metrics and the status page are served; \"off\" for nowhere. Any address but loopback needs `token`.",
);
const ADMIN_TOKEN: Key<Secret, Optional> = Key::optional(
    "token",
    "{ file = \"/etc/miro-siem/admin.token\" }",
    "no token is asked for, and only loopback addresses can be listened on",
    "What callers of the admin endpoint send as `Authorization: Bearer …`.",
);

pub(super) const ADMIN_KEYS: Keys = &[&LISTEN, &ADMIN_TOKEN];

/// `[admin]`
pub(super) fn admin(table: &Table<'_>) -> Result<AdminSettings, Faulty> {
    table.refuse_unknown(&[ADMIN_KEYS], |_| None);
    let (listen, token) = (table.take(&LISTEN), table.take(&ADMIN_TOKEN));
    let (listen, token) = (listen?.0, token?);
    match listen {
        Some(address) if !address.ip().is_loopback() && token.is_none() => Err(table.problem(
            "token",
            format!("is missing; admin.listen is {address}, and any address but loopback needs a token: token = {{ file = \"…\" }}"),
        )),
        _ => Ok(AdminSettings { listen, token }),
    }
}

const CA_FILE: Key<PathBuf, Optional> = Key::optional(
    "ca_file",
    "\"/etc/ssl/certs/corporate-ca.pem\"",
    "the system's certificates are trusted",
    "PEM certificates that are trusted instead of the system's.",
);
const CERT_FILE: Key<PathBuf, Optional> =
    Key::optional("cert_file", "\"/etc/miro-siem/client.pem\"", "no client certificate is shown", "Our own certificate chain, PEM.");
const KEY_FILE: Key<PathBuf, Optional> =
    Key::optional("key_file", "\"/etc/miro-siem/client.key\"", "no client certificate is shown", "The key of `cert_file`, PEM.");

pub(super) const TLS_KEYS: Keys = &[&CA_FILE, &CERT_FILE, &KEY_FILE];

impl Value for TlsSettings {
    const MEANT: &'static str = "a table of ca_file, cert_file and key_file";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let table = Table::of_keys(at.clone(), node, TLS_KEYS)?;
        let (ca_file, cert_file, key_file) = (table.take(&CA_FILE), table.take(&CERT_FILE), table.take(&KEY_FILE));
        let tls = Self { ca_file: ca_file?, cert_file: cert_file?, key_file: key_file? };
        match (&tls.cert_file, &tls.key_file) {
            (Some(_), None) => Err(table.problem("key_file", "is missing; it belongs to cert_file")),
            (None, Some(_)) => Err(table.problem("cert_file", "is missing; it belongs to key_file")),
            _ => Ok(tls),
        }
    }

    fn sub_keys() -> Keys {
        TLS_KEYS
    }

    fn form() -> Json {
        schema::table(TLS_KEYS)
    }
}
