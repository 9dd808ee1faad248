//! The endpoint's own certificate, taken up anew when its files change.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::{
    config::settings::AdminTls,
    net::{self, TlsError},
};

/// How often the files are looked at, at most; they are when somebody connects.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What tells a changed file from the same one.
type Stamp = Option<(SystemTime, u64)>;

/// A certificate that follows its files. Half-written or unreadable ones change nothing and are told once.
#[derive(Debug)]
pub(super) struct Certificate {
    files: AdminTls,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    config: Arc<rustls::ServerConfig>,
    stamps: (Stamp, Stamp),
    looked_at: Instant,
}

impl Certificate {
    /// Reads the files.
    pub(super) fn load(files: &AdminTls) -> Result<Self, TlsError> {
        let stamps = stamps(files);
        let config = Arc::new(net::server_tls(files)?);
        Ok(Self { files: files.clone(), held: Mutex::new(Held { config, stamps, looked_at: Instant::now() }) })
    }

    /// What the next connection is served with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.looked_at.elapsed() >= LOOK_INTERVAL {
            held.looked_at = Instant::now();
            self.look_again(&mut held);
        }
        TlsAcceptor::from(held.config.clone())
    }

    fn look_again(&self, held: &mut Held) {
        let stamps = stamps(&self.files);
        if stamps == held.stamps {
            return;
        }
        held.stamps = stamps;
        match net::server_tls(&self.files) {
            Ok(config) => {
                held.config = Arc::new(config);
                info!("took up the changed certificate of the admin endpoint");
            }
            Err(error) => warn!(%error, "failed to take up the changed certificate of the admin endpoint; the former one stays"),
        }
    }
}

fn stamps(files: &AdminTls) -> (Stamp, Stamp) {
    let stamp = |path| std::fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
    (stamp(&files.cert_file), stamp(&files.key_file))
}
