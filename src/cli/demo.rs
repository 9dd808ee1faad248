//! `miro-siem demo`: the daemon against the built-in simulator, with nothing to set up and nothing left behind.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use miro_simulator::{SimConfig, Simulator};

use super::{Exit, LogOptions, fail, logging, readable::ReadableStdout, report};
use crate::{
    admin::control::LogLevel,
    config::{
        Secret, Settings,
        settings::{
            AdminSettings, AuthSettings, Format, OrgSettings, Provenance, QuotaShare, Start, StateSettings, StreamSettings, TlsSettings,
        },
    },
    event::{OrgName, SinkName, StreamKind},
    pipeline::{self, Outcome, ReadySink, Signals, Stop},
    sink::{Built, driver::Limits},
    transform::TransformSettings,
};

/// Quick enough to watch, and within the quota: a content call costs 2 000 of 100 000 credits a minute. The daemon's own default is
/// five minutes.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How much of the simulated past scrolls by first.
const PAST: Duration = Duration::from_secs(2 * 3_600);
const JOURNAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What a demo leaves undelivered is thrown away with it: that it goes out at the next start would not be true.
const LOG_LEVEL: &str = "warn,miro_siem::pipeline::run=error";

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Where the status page is served; any free port where this one is taken
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9494")]
    listen: SocketAddr,
    /// The seed of the simulated organisation
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// New events a minute
    #[arg(long, default_value_t = 90.0)]
    rate: f64,
}

pub(super) fn run(options: &Options, log: &LogOptions) -> Exit {
    let log = match logging::init(log, LOG_LEVEL) {
        Ok(log) => log,
        Err(problem) => {
            report(&format!("error: {problem}"));
            return Exit::Usage;
        }
    };
    match super::runtime().context("failed to start the runtime").and_then(|runtime| runtime.block_on(demo(options, log))) {
        Ok(_) => Exit::Fine,
        Err(error) => fail(&error),
    }
}

async fn demo(options: &Options, log: Arc<dyn LogLevel>) -> anyhow::Result<Outcome> {
    let simulator = Simulator::start(organisation(options)).await.context("failed to start the simulator")?;
    let state = tempfile::Builder::new().prefix("miro-siem-demo-").tempdir().context("failed to make a directory for the demo's state")?;
    let settings = settings(options, &simulator, &state.path().join("state")).await?;
    let mut parts = pipeline::Parts { log: Some(log), ..pipeline::Parts::new(settings) };
    let stop = Stop::new();
    parts.sinks.push(terminal(stop.clone()));
    let signals = Signals::listen().context("failed to listen for signals")?;
    let driving = tokio::spawn(signals.drive(stop.clone()));
    let running = pipeline::start(parts, stop).await?;
    if let Some(address) = running.admin_address() {
        report(&format!("a simulated organisation is being collected; status page: http://{address}/ · Ctrl-C stops"));
    }
    let outcome = running.wait().await;
    driving.abort();
    // What the simulator says at its end does not matter any more.
    let _ = simulator.stop().await;
    report("stopped; nothing is left behind");
    Ok(outcome)
}

/// A sink that writes readable lines to this terminal.
fn terminal(stop: Stop) -> ReadySink {
    let limits = Limits {
        events_max: 100,
        bytes_max: 1 << 20,
        flush_interval: Duration::from_millis(100),
        deliver_timeout: Duration::from_secs(30),
        retry_initial: Duration::from_secs(1),
        retry_max: Duration::from_secs(5),
        probe_initial: Limits::PROBE_INITIAL,
        probe_max: Limits::PROBE_MAX,
    };
    let transform = TransformSettings::whole(Format::Raw, Provenance::Off);
    let built = Built { sink: Arc::new(ReadableStdout::new(stop)), limits, transform };
    ReadySink { name: SinkName::new("terminal"), built, streams: StreamKind::OF_MIRO.to_vec() }
}

fn organisation(options: &Options) -> SimConfig {
    SimConfig {
        seed: options.seed,
        live_rate_per_minute: Some(options.rate),
        late_fraction: 0.02,
        late_max: Duration::from_secs(20),
        ..SimConfig::default().with_days(2)
    }
}

async fn settings(options: &Options, simulator: &miro_simulator::Running, state: &std::path::Path) -> anyhow::Result<Settings> {
    let stream = |kind, page_size| StreamSettings {
        kind,
        auth: None,
        poll_interval: POLL_INTERVAL,
        start: Start::Ago(PAST),
        overlap: Duration::from_secs(60),
        page_size,
        reconcile: vec![Duration::from_secs(60)],
        retention: Duration::from_secs(30 * 24 * 3_600),
        heartbeat: None,
    };
    let token = simulator.sim().auth().token("admin").context("the simulator has no token")?;
    Ok(Settings {
        state: StateSettings {
            dir: state.to_owned(),
            journal_bytes_max: JOURNAL_BYTES_MAX,
            dead_letter_bytes_max: JOURNAL_BYTES_MAX,
            drain_timeout: Duration::from_secs(5),
        },
        admin: AdminSettings {
            listen: Some(free(options.listen).await),
            socket: Some(state.join("admin.sock")),
            token: None,
            tls: None,
            hosts: Vec::new(),
        },
        tls: TlsSettings::default(),
        orgs: vec![OrgSettings {
            name: OrgName::new("demo"),
            id: None,
            api_url: simulator.url().parse().context("failed to read the simulator's address")?,
            auth: Some(AuthSettings::Token(Secret::literal(token))),
            quota_share: QuotaShare::WHOLE,
            streams: vec![stream(StreamKind::Audit, 500), stream(StreamKind::Content, 1_000)],
        }],
        sinks: Vec::new(),
    })
}

/// The address, or any free port on the same interface where it is taken.
async fn free(wanted: SocketAddr) -> SocketAddr {
    match tokio::net::TcpListener::bind(wanted).await {
        Ok(_) => wanted,
        Err(_) => SocketAddr::new(wanted.ip(), 0),
    }
}
