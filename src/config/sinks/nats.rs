//! `type = "nats"`

use url::Url;

use super::{Connects, SinkType};
use crate::config::{
    Secret,
    address::NatsServer,
    key::{Defaulted, Key, Optional, Required},
    problem::Faulty,
    settings::{NatsCredential, NatsSettings, NatsTls, Provenance, SinkKindSettings},
    table::Table,
    value::{FromText, Unfit},
};

/// Far below the limit of the protocol's lines, which is 4 096 bytes by default.
const SUBJECT_BYTES_MAX: usize = 256;

const SERVERS: Key<Vec<NatsServer>, Required> = Key::required(
    "servers",
    "[\"tls://nats.example.com:4222\"]",
    "The servers of one cluster; another one is tried where one does not answer. tls:// insists on TLS, with nats:// the server decides.",
)
.limited("of at least one server", |servers| !servers.is_empty());
const SUBJECT: Key<Subject, Defaulted> = Key::defaulted(
    "subject",
    "miro.{org}.{stream}",
    "The subject of a message, with `{org}` and `{stream}`. A JetStream stream has to take it: \
     nats stream add MIRO --subjects \"miro.*.*\" --dupe-window 24h --defaults",
);
const USERNAME: Key<String, Optional> =
    Key::optional("username", "\"miro-siem\"", "another credential, or none", "The user, with `password`.");
const PASSWORD: Key<Secret, Optional> =
    Key::optional("password", "{ file = \"/etc/miro-siem/nats.password\" }", "required with `username`", "Its password.");
const TOKEN: Key<Secret, Optional> =
    Key::optional("token", "{ file = \"/etc/miro-siem/nats.token\" }", "another credential, or none", "The server's token.");
const NKEY: Key<Secret, Optional> = Key::optional(
    "nkey",
    "{ file = \"/etc/miro-siem/nats.nk\" }",
    "another credential, or none",
    "The seed of a user's key, which begins with SU. It signs and is never sent.",
);
const CREDENTIALS: Key<Secret, Optional> = Key::optional(
    "credentials",
    "{ file = \"/etc/miro-siem/nats.creds\" }",
    "another credential, or none",
    "A .creds file of an operator's user: its JWT and its seed.",
);
const INBOX_PREFIX: Key<Subject, Optional> = Key::optional(
    "inbox_prefix",
    "\"_INBOX_miro\"",
    "_INBOX",
    "Where acknowledgements come to; the user has to be allowed to subscribe to what is below it.",
)
.limited("without placeholders", |prefix| !prefix.0.contains('{'));

pub(super) const TYPE: SinkType = SinkType {
    name: "nats",
    doc: "NATS JetStream, one message for each event. An event counts as delivered when a stream has stored it. `Nats-Msg-Id` is made from \
          the event's id: one that is sent again within the stream's duplicate window is there once.",
    keys: &[&SERVERS, &SUBJECT, &USERNAME, &PASSWORD, &TOKEN, &NKEY, &CREDENTIALS, &INBOX_PREFIX],
    connects: Connects::Yes,
    provenance: Provenance::On,
    read,
};

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (servers, subject, inbox) = (table.take(&SERVERS), table.take(&SUBJECT), table.take(&INBOX_PREFIX));
    let credential = credential(table);
    let (servers, credential) = (servers?, credential?);
    let has_table = table.raw("tls").is_some();
    warn_of_clear_text(table, &servers, has_table);
    let insists = has_table || servers.iter().any(|server| server.0.scheme() == "tls");
    Ok(SinkKindSettings::Nats(NatsSettings {
        servers: servers.into_iter().map(|server| server.0).collect::<Vec<Url>>(),
        subject: subject?.0,
        credential,
        inbox_prefix: inbox?.map(|prefix| prefix.0),
        tls: if insists { NatsTls::Required } else { NatsTls::WhereOffered },
    }))
}

fn warn_of_clear_text(table: &Table<'_>, servers: &[NatsServer], has_tls_table: bool) {
    let node = table.raw(SERVERS.name).unwrap_or(table.node);
    let all_insist = has_tls_table || servers.iter().any(|server| server.0.scheme() == "tls");
    if !all_insist && servers.iter().any(NatsServer::is_clear_text) {
        table.at.child(SERVERS.name).warning(node, "sends events in clear text unless the server insists on TLS; use tls://");
    }
}

/// The one credential that is there.
fn credential(table: &Table<'_>) -> Result<NatsCredential, Faulty> {
    let (username, password) = (table.take(&USERNAME), table.take(&PASSWORD));
    let (token, nkey, credentials) = (table.take(&TOKEN), table.take(&NKEY), table.take(&CREDENTIALS));
    let basic = match (username?, password?) {
        (Some(username), Some(password)) => Some(NatsCredential::Password { username, password }),
        (None, None) => None,
        (Some(_), None) => return Err(table.problem(PASSWORD.name, "is missing; `username` needs it")),
        (None, Some(_)) => return Err(table.problem(USERNAME.name, "is missing; `password` needs it")),
    };
    let found = [
        (USERNAME.name, basic),
        (TOKEN.name, token?.map(NatsCredential::Token)),
        (NKEY.name, nkey?.map(NatsCredential::Nkey)),
        (CREDENTIALS.name, credentials?.map(NatsCredential::Credentials)),
    ];
    let mut found = found.into_iter().filter_map(|(key, credential)| Some((key, credential?)));
    match (found.next(), found.next()) {
        (Some((first, _)), Some((second, _))) => Err(table.problem(second, format!("stands beside `{first}`; one of the two is meant"))),
        (Some((_, credential)), None) => Ok(credential),
        (None, _) => Ok(NatsCredential::None),
    }
}

/// `subject`
struct Subject(String);

impl FromText for Subject {
    const MEANT: &'static str = "a subject without wildcards, such as \"miro.{org}.{stream}\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let filled = text.replace("{org}", "x").replace("{stream}", "x");
        if filled.contains(['{', '}']) {
            return Err(Unfit::Because("only {org} and {stream} can stand in braces".to_owned()));
        }
        if filled.starts_with('$') {
            return Err(Unfit::Because("what begins with `$` belongs to the server".to_owned()));
        }
        let is_token = |token: &str| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic() && c != '*' && c != '>');
        if text.len() <= SUBJECT_BYTES_MAX && filled.split('.').all(is_token) { Ok(Self(text.to_owned())) } else { Err(Unfit::Plainly) }
    }
}
