//! The stand-ins as a process of their own, for end-to-end tests and benches.
//!
//! When everything listens it prints one line of JSON on stdout: addresses, credentials and the CA file. Then it works until
//! SIGTERM or SIGINT. What it took is read through the control port, see `testbed::control`.

#![forbid(unsafe_code)]

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use rustls::ServerConfig;
use serde_json::{Value, json};
use testbed::{
    azure::{Azure, AzureConfig},
    ca::{Ca, ClientCertificates},
    control::Control,
    hec::{Acks, Edition, Hec, HecConfig, Parsing},
    ledger::Keep,
    sumo::{Sumo, SumoConfig},
};
use tokio::signal::unix::{SignalKind, signal};

/// Stand-ins for Splunk HEC, Azure Logs Ingestion and Sumo Logic.
#[derive(Debug, Parser)]
struct Args {
    /// Start Splunk HEC on this address
    #[arg(long, value_name = "ADDR")]
    hec: Option<SocketAddr>,
    /// The token that HEC takes
    #[arg(long, value_name = "TOKEN", requires = "hec")]
    hec_token: Option<String>,
    /// Indexer acknowledgement
    #[arg(long, requires = "hec")]
    hec_ack: bool,
    /// The time from taking events to their acknowledgement, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "hec_ack")]
    hec_ack_delay_ms: u64,
    /// HEC over TLS
    #[arg(long, requires_all = ["hec", "tls_dir"])]
    hec_tls: bool,
    /// Answer as Splunk Cloud does
    #[arg(long, requires = "hec")]
    hec_cloud: bool,
    /// HEC only counts lines: for benches
    #[arg(long, requires = "hec")]
    blackhole: bool,

    /// Start Azure Logs Ingestion on this address, and Entra and the managed identity beside it
    #[arg(long, value_name = "ADDR", requires = "tls_dir")]
    azure: Option<SocketAddr>,
    /// The address of Entra
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    entra: SocketAddr,
    /// The address of the managed identity endpoint
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    identity: SocketAddr,

    /// Start Sumo Logic on this address
    #[arg(long, value_name = "ADDR")]
    sumo: Option<SocketAddr>,
    /// The secret in Sumo's path
    #[arg(long, value_name = "SECRET", requires = "sumo")]
    sumo_secret: Option<String>,
    /// Sumo over TLS
    #[arg(long, requires_all = ["sumo", "tls_dir"])]
    sumo_tls: bool,

    /// Where the certificates are written, PEM: ca.pem, server.pem, server.key, client.pem, client.key
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// Keep the bytes of every event, not only their digests
    #[arg(long)]
    keep_bytes: bool,
    /// The address of the control port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(args.workers))
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let tls = args.tls_dir.as_deref().map(write_certificates).transpose()?;
    let mut ready = json!({ "ca": tls.as_ref().map(|tls| &tls.ca_file) });
    let control = Control {
        hec: start_hec(&args, tls.as_ref(), &mut ready)?,
        azure: start_azure(&args, tls.as_ref(), &mut ready)?,
        sumo: start_sumo(&args, tls.as_ref(), &mut ready)?,
    };
    let control = control.start(args.control)?;
    ready["control"] = control.url().into();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{ready}").and_then(|()| stdout.flush()).context("say that everything listens")?;
    drop(stdout);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    control.stop().await;
    Ok(())
}

struct Tls {
    ca_file: PathBuf,
    server: Arc<ServerConfig>,
}

fn write_certificates(dir: &Path) -> anyhow::Result<Tls> {
    let ca = Ca::new()?;
    let server = ca.local_server()?;
    let files = ca.write_to(dir, &server, &ca.client("miro-siem")?)?;
    Ok(Tls { ca_file: files.ca, server: server.server_config(ClientCertificates::NotAsked)? })
}

fn keep(args: &Args) -> Keep {
    if args.keep_bytes { Keep::Bytes } else { Keep::Digests }
}

fn start_hec(args: &Args, tls: Option<&Tls>, ready: &mut Value) -> anyhow::Result<Option<testbed::Running<Hec>>> {
    let Some(listen) = args.hec else {
        return Ok(None);
    };
    let defaults = HecConfig::default();
    let delay = Duration::from_millis(args.hec_ack_delay_ms);
    let config = HecConfig {
        listen,
        tls: tls.filter(|_| args.hec_tls).map(|tls| Arc::clone(&tls.server)),
        token: args.hec_token.clone().unwrap_or(defaults.token),
        acks: if args.hec_ack { Acks::after(delay) } else { Acks::Off },
        edition: if args.hec_cloud { Edition::Cloud } else { Edition::Enterprise },
        parsing: if args.blackhole { Parsing::CountLines } else { Parsing::Full },
        keep: keep(args),
        ..HecConfig::default()
    };
    let token = config.token.clone();
    let hec = Hec::start(config)?;
    ready["hec"] = json!({ "url": hec.url(), "token": token });
    Ok(Some(hec))
}

fn start_azure(args: &Args, tls: Option<&Tls>, ready: &mut Value) -> anyhow::Result<Option<Azure>> {
    let (Some(listen), Some(tls)) = (args.azure, tls) else {
        return Ok(None);
    };
    let config = AzureConfig {
        listen_ingest: listen,
        listen_entra: args.entra,
        listen_identity: args.identity,
        keep: keep(args),
        ..AzureConfig::new(Arc::clone(&tls.server))
    };
    let azure = Azure::start(config.clone())?;
    ready["azure"] = json!({
        "endpoint": azure.ingest().url(), "dcr_id": config.dcr_id, "authority": azure.entra().url(),
        "tenant_id": config.tenant_id, "client_id": config.client_id, "client_secret": config.client_secret,
        "client_assertion": config.client_assertion,
        "identity_endpoint": azure.identity_endpoint(), "identity_header": config.identity_header,
    });
    Ok(Some(azure))
}

fn start_sumo(args: &Args, tls: Option<&Tls>, ready: &mut Value) -> anyhow::Result<Option<testbed::Running<Sumo>>> {
    let Some(listen) = args.sumo else {
        return Ok(None);
    };
    let defaults = SumoConfig::default();
    let config = SumoConfig {
        listen,
        tls: tls.filter(|_| args.sumo_tls).map(|tls| Arc::clone(&tls.server)),
        secret: args.sumo_secret.clone().unwrap_or(defaults.secret),
        keep: keep(args),
    };
    let sumo = Sumo::start(config)?;
    ready["sumo"] = json!({ "url": format!("{}{}", sumo.url(), sumo.service().path()) });
    Ok(Some(sumo))
}
