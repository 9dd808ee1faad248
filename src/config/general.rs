//! `[state]`, `[admin]` and `[tls]`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value as Json;

use super::{
    Secret,
    key::{Defaulted, Key, Keys, Optional, Required},
    node::Node,
    problem::Faulty,
    scalar::{ByteSize, HostName, Listen, SocketPath},
    schema,
    settings::{AdminSettings, AdminTls, StateSettings, TlsSettings},
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
const DEAD_LETTERS_MAX: Key<ByteSize, Defaulted> = Key::defaulted(
    "dead_letters_max",
    "1GiB",
    "How large each sink's dead letters may grow, the events that its receiver refuses. At this size the sink pauses, nothing is dropped; at \
     four fifths of it a warning is logged.",
)
.limited("at least 64KiB", |size| size.0 >= 64 << 10);
const DRAIN_TIMEOUT: Key<Duration, Defaulted> = Key::defaulted(
    "drain_timeout",
    "25s",
    "How long a stop may take to deliver what is collected. The rest is delivered after the next start.",
)
.limited("at most 1h", |timeout| *timeout <= Duration::from_secs(3600));

pub(super) const STATE_KEYS: Keys = &[&DIR, &JOURNAL_MAX, &DEAD_LETTERS_MAX, &DRAIN_TIMEOUT];

/// `[state]`; `dir` is what holds where it is left out.
pub(super) fn state(table: &Table<'_>, dir: PathBuf) -> Result<StateSettings, Faulty> {
    table.refuse_unknown(&[STATE_KEYS], |_| None);
    let dir = if table.raw(DIR.name).is_some() { table.take(&DIR) } else { Ok(dir) };
    let journal_max = table.take(&JOURNAL_MAX);
    let (dead_letters_max, drain_timeout) = (table.take(&DEAD_LETTERS_MAX), table.take(&DRAIN_TIMEOUT));
    Ok(StateSettings {
        dir: dir?,
        journal_bytes_max: journal_max?.0,
        dead_letter_bytes_max: dead_letters_max?.0,
        drain_timeout: drain_timeout?,
    })
}

const LISTEN: Key<Listen, Defaulted> = Key::defaulted(
    "listen",
    "127.0.0.1:9494",
    "Where /healthz, /readyz, /metrics and the status page are served; \"off\" for nowhere. Any address but loopback needs `token`.",
);
const SOCKET: Key<SocketPath, Optional> = Key::optional(
    "socket",
    "\"/run/miro-siem/admin.sock\"",
    "`admin.sock` in `state.dir`",
    "A unix socket with the same answers, for the service's own user and root: commands use it first, and changes through it need no token.",
);
const ADMIN_TOKEN: Key<Secret, Optional> = Key::optional(
    "token",
    "{ file = \"/etc/miro-siem/admin.token\" }",
    "only loopback addresses can be listened on; reading needs no token there, and changes and events are to be had over the socket only",
    "What callers over TCP send as `Authorization: Bearer …`.",
);
const ADMIN_TLS: Key<AdminTls, Optional> = Key::optional(
    "tls",
    "{ cert_file = \"/etc/miro-siem/admin.pem\", key_file = \"/etc/miro-siem/admin.key\" }",
    "`listen` speaks plain HTTP",
    "The certificate that `listen` is served with. Changed files are taken up within seconds, without a restart.",
);
const HOSTS: Key<Vec<HostName>, Defaulted> = Key::defaulted(
    "hosts",
    "",
    "Names under which browsers and scrapers reach `listen`, beside localhost and the address itself: a request for any other is refused, so \
     that no foreign web page can use a name of its own for this address.",
);

pub(super) const ADMIN_KEYS: Keys = &[&LISTEN, &SOCKET, &ADMIN_TOKEN, &ADMIN_TLS, &HOSTS];

/// `[admin]`; the socket is in the state directory where it is left out.
pub(super) fn admin(table: &Table<'_>, state_dir: Option<&Path>) -> Result<AdminSettings, Faulty> {
    table.refuse_unknown(&[ADMIN_KEYS], |_| None);
    let (listen, token) = (table.take(&LISTEN), table.take(&ADMIN_TOKEN));
    let (socket, tls, hosts) = (socket(table, state_dir), table.take(&ADMIN_TLS), table.take(&HOSTS));
    let (listen, token) = (listen?.0, token?);
    let is_open = listen.filter(|address| !address.ip().is_loopback());
    if let Some(address) = is_open.filter(|_| token.is_none()) {
        return Err(table.problem(
            "token",
            format!("is missing; admin.listen is {address}, and any address but loopback needs a token: token = {{ file = \"…\" }}"),
        ));
    }
    let tls = tls?;
    if let (Some(address), None, Some(node)) = (is_open, &tls, table.raw(LISTEN.name)) {
        table.at.child(LISTEN.name).warning(node, format!("is {address} without admin.tls: the token travels in clear text"));
    }
    Ok(AdminSettings { listen, socket: socket?, token, tls, hosts: hosts?.into_iter().map(|host| host.0).collect() })
}

/// The socket's path; without a readable state directory, which has been told already, there is none.
fn socket(table: &Table<'_>, state_dir: Option<&Path>) -> Result<Option<PathBuf>, Faulty> {
    if let Some(SocketPath(chosen)) = table.take(&SOCKET)? {
        return Ok(chosen);
    }
    let path = state_dir.map(|dir| dir.join(SOCKET_NAME));
    match path.as_deref().and_then(SocketPath::too_long) {
        Some(why) => Err(table.problem(SOCKET.name, format!("is {SOCKET_NAME} in state.dir unless another is chosen: {why}, or \"off\""))),
        None => Ok(path),
    }
}

/// The admin endpoint's socket in the state directory.
const SOCKET_NAME: &str = "admin.sock";

const ADMIN_CERT: Key<PathBuf, Required> =
    Key::required("cert_file", "\"/etc/miro-siem/admin.pem\"", "The certificate chain, the endpoint's own first, PEM.");
const ADMIN_KEY: Key<PathBuf, Required> = Key::required("key_file", "\"/etc/miro-siem/admin.key\"", "The key of `cert_file`, PEM.");
const ADMIN_TLS_KEYS: Keys = &[&ADMIN_CERT, &ADMIN_KEY];

impl Value for AdminTls {
    const MEANT: &'static str = "a table of cert_file and key_file";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let table = Table::of_keys(at.clone(), node, ADMIN_TLS_KEYS)?;
        let (cert_file, key_file) = (table.take(&ADMIN_CERT), table.take(&ADMIN_KEY));
        Ok(Self { cert_file: cert_file?, key_file: key_file? })
    }

    fn sub_keys() -> Keys {
        ADMIN_TLS_KEYS
    }

    fn form() -> Json {
        schema::table(ADMIN_TLS_KEYS)
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
