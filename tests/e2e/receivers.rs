//! All kinds of receivers at once, and the configuration that feeds them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use miro_simulator::Running as Miro;
use testbed::{
    Running,
    azure::{Azure, AzureConfig},
    ca::{Ca, CaFiles, ClientCertificates},
    hec::{Acks, Hec, HecConfig},
    ledger::{Difference, Digest, Ledger},
    sumo::{Sumo, SumoConfig},
};

use crate::{
    daemon::free_port,
    rsyslog::Rsyslog,
    world::{Truth, token},
};

/// Where everything of one test lives, and who receives.
pub(crate) struct Receivers {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) hec: Running<Hec>,
    pub(crate) azure: Azure,
    pub(crate) sumo: Running<Sumo>,
    pub(crate) rsyslog: Rsyslog,
    pub(crate) ca: CaFiles,
    pub(crate) admin_port: u16,
}

pub(crate) const HEC_TOKEN: &str = "5ecre7-hec-70ken-aaaa-bbbbccccdddd";
pub(crate) const SUMO_SECRET: &str = "ZaVnC4dhaV2-sumo-s3cret-url";
pub(crate) const AZURE_SECRET: &str = "az~ure-cl1ent-s3cret";

impl Receivers {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Ca::new().expect("an authority");
        let server = authority.local_server().expect("a server certificate");
        let client = authority.client("miro-siem").expect("a client certificate");
        let ca = authority.write_to(&dir.path().join("tls"), &server, &client).expect("certificates are written");
        let tls = server.server_config(ClientCertificates::NotAsked).expect("a TLS set-up");
        let hec = HecConfig { token: HEC_TOKEN.to_owned(), acks: Acks::after(Duration::from_millis(50)), ..HecConfig::default() };
        let azure = AzureConfig { client_secret: AZURE_SECRET.to_owned(), ..AzureConfig::new(Arc::clone(&tls)) };
        let sumo = SumoConfig { secret: SUMO_SECRET.to_owned(), ..SumoConfig::default() };
        Self {
            hec: Hec::start(hec).expect("HEC starts"),
            azure: Azure::start(azure).expect("Azure starts"),
            sumo: Sumo::start(sumo).expect("Sumo starts"),
            rsyslog: Rsyslog::start(&dir.path().join("rsyslog"), &ca),
            admin_port: free_port(),
            ca,
            dir,
        }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("daemon.log")
    }

    /// Where the file sink writes.
    pub(crate) fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    /// The configuration for all of them, in a file.
    pub(crate) fn configure(&self, miro: &Miro, start: &str) -> PathBuf {
        self.configure_with(miro, start, "")
    }

    /// The same with more keys in `[state]`.
    pub(crate) fn configure_with(&self, miro: &Miro, start: &str, state: &str) -> PathBuf {
        let path = self.dir.path().join("config.toml");
        fs::write(&path, self.configuration(miro, start, state)).expect("the configuration is written");
        path
    }

    fn configuration(&self, miro: &Miro, start: &str, state: &str) -> String {
        let (dir, ca) = (self.dir.path().display(), self.ca.ca.display());
        let defaults = AzureConfig::new(Arc::clone(&self.tls()));
        format!(
            r#"
[state]
dir = "{dir}/state"
{state}
[admin]
listen = "127.0.0.1:{admin}"
[tls]
ca_file = "{ca}"

[orgs.acme]
api_url = "{api}"
token = "{token}"
[orgs.acme.audit]
start = "{start}"
poll_interval = "10s"
[orgs.acme.content]
start = "{start}"
poll_interval = "10s"

[sinks.archive]
type = "file"
path = "{dir}/archive/{{stream}}-%Y-%m-%d.ndjson"
provenance = false

[sinks.splunk]
type = "splunk_hec"
url = "{hec}"
token = "{HEC_TOKEN}"
ack = true

[sinks.sentinel]
type = "azure_monitor"
endpoint = "{ingest}"
authority = "{entra}"
dcr_id = "{dcr}"
tenant_id = "{tenant}"
client_id = "{client}"
client_secret = "{AZURE_SECRET}"

[sinks.sumo]
type = "sumo"
url = "{sumo}{sumo_path}"
category = "miro"
provenance = false

[sinks.syslog]
type = "syslog"
address = "tcp://127.0.0.1:{tcp}"
provenance = false
message_bytes_max = 262144

[sinks.syslog_tls]
type = "syslog"
address = "tls://localhost:{tls}"
provenance = false
message_bytes_max = 262144
tls = {{ ca_file = "{ca}", cert_file = "{cert}", key_file = "{key}" }}
"#,
            admin = self.admin_port,
            api = miro.url(),
            token = token(miro),
            hec = self.hec.url(),
            ingest = self.azure.ingest().url(),
            entra = self.azure.entra().url(),
            dcr = defaults.dcr_id,
            tenant = defaults.tenant_id,
            client = defaults.client_id,
            sumo = self.sumo.url(),
            sumo_path = self.sumo.service().path(),
            tcp = self.rsyslog.tcp_port,
            tls = self.rsyslog.tls_port,
            cert = self.ca.client_certificate.display(),
            key = self.ca.client_key.display(),
        )
    }

    fn tls(&self) -> Arc<rustls::ServerConfig> {
        Ca::new()
            .and_then(|ca| ca.local_server())
            .and_then(|server| server.server_config(ClientCertificates::NotAsked))
            .expect("a TLS set-up")
    }

    /// What every receiver has: name and what it saw.
    pub(crate) fn seen(&self) -> Vec<(&'static str, Seen)> {
        vec![
            ("splunk", Seen::of_ledger(self.hec.ledger(), Form::Exact)),
            ("sentinel", Seen::of_ledger(self.azure.ingest().ledger(), Form::Columns)),
            ("sumo", Seen::of_ledger(self.sumo.ledger(), Form::OneLine)),
            ("archive", Seen::of_files(&self.archive())),
            ("syslog", Seen::of_file(&self.rsyslog.tcp_file)),
            ("syslog_tls", Seen::of_file(&self.rsyslog.tls_file)),
        ]
    }

    /// How many different events a receiver has, by name.
    pub(crate) fn counts(&self) -> Vec<(&'static str, usize)> {
        self.seen().into_iter().map(|(name, seen)| (name, seen.len())).collect()
    }
}

/// In which form a receiver gets an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Byte for byte.
    Exact,
    /// Byte for byte on one line.
    OneLine,
    /// Byte for byte, unless a field is larger than its column: then it is marked.
    Columns,
}

/// What a receiver saw: for each id how often, the digest of the first arrival, and whether a later one differed.
pub(crate) struct Seen {
    events: BTreeMap<String, (u32, Digest, bool)>,
    form: Form,
}

impl Seen {
    fn of_ledger(ledger: &Ledger, form: Form) -> Self {
        let events = ledger.lines().into_iter().map(|line| (line.id, (line.times_seen, line.digest, line.times_altered > 0))).collect();
        Self { events, form }
    }

    /// How many different events.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    fn of_files(dir: &Path) -> Self {
        let mut seen = Self { events: BTreeMap::new(), form: Form::OneLine };
        let Ok(entries) = fs::read_dir(dir) else { return seen };
        for entry in entries {
            seen.add_file(&entry.expect("the directory can be read").path());
        }
        seen
    }

    fn of_file(path: &Path) -> Self {
        let mut seen = Self { events: BTreeMap::new(), form: Form::OneLine };
        if path.exists() {
            seen.add_file(path);
        }
        seen
    }

    fn add_file(&mut self, path: &Path) {
        let content = fs::read(path).expect("the file can be read");
        for line in content.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n")) {
            let head: Head = serde_json::from_slice(line)
                .unwrap_or_else(|error| panic!("{}: {error}: {}", path.display(), String::from_utf8_lossy(line)));
            let digest = Digest::of(line);
            let entry = self.events.entry(head.id).or_insert((0, digest, false));
            entry.0 += 1;
            entry.2 |= entry.1 != digest;
        }
    }

    /// Compares with the truth.
    pub(crate) fn difference(&self, truth: &Truth) -> Difference {
        let mut difference = Difference::default();
        for (id, fact) in truth {
            let Some((times, digest, varied)) = self.events.get(id) else {
                difference.missing.push(id.clone());
                continue;
            };
            let altered = match self.form {
                Form::Exact => *digest != fact.exact,
                Form::OneLine => *digest != fact.one_line,
                Form::Columns => *digest != fact.exact && !fact.oversized,
            };
            if altered || *varied {
                difference.altered.push(id.clone());
            }
            if *times > 1 {
                difference.repeated.push(id.clone());
            }
        }
        difference.unexpected = self.events.keys().filter(|id| !truth.contains_key(*id)).cloned().collect();
        difference
    }
}

#[derive(serde::Deserialize)]
struct Head {
    id: String,
}
