//! `miro-siem status`: what the running daemon is doing.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use secrecy::ExposeSecret;

use super::{ConfigOption, Exit, fail, report};
use crate::{
    admin::status::{SinkStatus, Status, StreamStatus},
    config::{self, Environment, settings::AdminSettings},
    health::Fault,
    net,
};

/// The daemon answers from memory; one that does not within this time hangs.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A status with thousands of gaps is still smaller.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Where a daemon without a configuration listens: the default of admin.listen.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9494);
/// The mend stands at the end of a sentence, so it must not be cut off; a receiver's answer inside is kept short where it is made.
const FAULT_CHARS_MAX: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigOption,
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
    /// The daemon's admin address, where it is not the configured one
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,
}

pub(super) fn run(options: &Options) -> Exit {
    let admin = match admin(options) {
        Ok(admin) => admin,
        Err(problem) => {
            report(&problem);
            return Exit::Usage;
        }
    };
    match super::runtime().context("failed to start the runtime").and_then(|runtime| runtime.block_on(fetch(&admin))) {
        Ok(body) => show(&body, options.json).unwrap_or_else(|error| fail(&error)),
        Err(error) => fail(&error),
    }
}

/// Where the daemon listens. Without any configuration it is where a daemon without one listens.
fn admin(options: &Options) -> Result<AdminSettings, String> {
    if let Some(listen) = options.admin {
        let token =
            config::load(options.config.config.as_deref(), &Environment::of_process()).ok().and_then(|loaded| loaded.settings.admin.token);
        return Ok(AdminSettings { listen: Some(listen), token });
    }
    match config::load(options.config.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => Ok(loaded.settings.admin),
        Err(_) if options.config.config.is_none() && !Path::new(config::DEFAULT_PATH).exists() => {
            Ok(AdminSettings { listen: Some(DEFAULT_LISTEN), token: None })
        }
        Err(problems) => Err(problems.to_string()),
    }
}

async fn fetch(admin: &AdminSettings) -> anyhow::Result<String> {
    let Some(listen) = admin.listen else { bail!("the admin endpoint is off (admin.listen); switch it on to ask the daemon") };
    let client = net::local_client(TIMEOUT).context("failed to set up the request")?;
    let mut request = client.get(format!("http://{listen}/api/v1/status"));
    if let Some(token) = &admin.token {
        request = request.bearer_auth(token.read()?.expose_secret());
    }
    let mut answer = request
        .send()
        .await
        .with_context(|| format!("failed to reach the daemon at {listen}; is `miro-siem run` running with this configuration?"))?;
    if !answer.status().is_success() {
        bail!("the daemon at {listen} answered {}: is admin.token the one that it runs with?", answer.status());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.context("failed to read the daemon's answer")? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            bail!("what listens at {listen} sends more than a status: it is not miro-siem");
        }
    }
    String::from_utf8(body).context("failed to read the daemon's answer")
}

fn show(body: &str, json: bool) -> anyhow::Result<Exit> {
    let status: Status = serde_json::from_str(body).context("failed to understand the daemon's answer; is it of another version?")?;
    let text = if json { format!("{}\n", body.trim_end()) } else { table(&status) };
    // A reader that went away, such as `head`, is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(Exit::Fine)
}

fn table(status: &Status) -> String {
    let mut text = String::new();
    let verdict = if status.healthy { "healthy" } else { "needs attention" };
    let _ = writeln!(text, "miro-siem {} (pid {}) {verdict}, since {}\n", status.version, status.pid, status.started_at);
    let _ = writeln!(text, "{:<24} {:<12} {:<24} {:>8} {:>10} {:>8}", "STREAM", "STATE", "COLLECTED UP TO", "LAG", "EVENTS", "GAPS");
    for row in &status.streams {
        stream_line(&mut text, row);
    }
    let _ = writeln!(text, "\n{:<24} {:<12} {:>12} {:>10} {:>8} {:>12}", "SINK", "STATE", "DELIVERED", "BACKLOG", "OLDEST", "DEAD LETTERS");
    for row in &status.sinks {
        sink_line(&mut text, row);
    }
    let journal = &status.journal;
    let _ = writeln!(text, "\njournal: {} events, {} of {} bytes", journal.events, journal.bytes, journal.bytes_max);
    text
}

fn stream_line(text: &mut String, row: &StreamStatus) {
    let gap_secs = row.gaps.iter().fold(0.0, |sum, gap| sum + gap.secs);
    let _ = writeln!(
        text,
        "{:<24} {:<12} {:<24} {:>8} {:>10} {:>8}",
        format!("{}/{}", row.org, row.stream),
        name(&row.phase),
        row.watermark.as_deref().unwrap_or("-"),
        row.lag_secs.map_or_else(|| "-".to_owned(), span),
        row.events_collected,
        span(gap_secs)
    );
    fault(text, row.fault.as_ref());
}

fn sink_line(text: &mut String, row: &SinkStatus) {
    let _ = writeln!(
        text,
        "{:<24} {:<12} {:>12} {:>10} {:>8} {:>12}",
        row.name,
        name(&row.phase),
        row.events_delivered,
        row.backlog_events,
        span(row.oldest_event_age_secs),
        row.events_dead_lettered
    );
    fault(text, row.fault.as_ref());
}

fn fault(text: &mut String, fault: Option<&Fault>) {
    if let Some(fault) = fault {
        let message: String = fault.message.chars().take(FAULT_CHARS_MAX).collect();
        let _ = writeln!(text, "  {}: {message}", fault.class);
    }
}

fn name(phase: &impl serde::Serialize) -> String {
    serde_json::to_value(phase).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Seconds as a person reads them.
fn span(secs: f64) -> String {
    match secs {
        secs if secs < 120.0 => format!("{secs:.0}s"),
        secs if secs < 7_200.0 => format!("{:.0}m", secs / 60.0),
        secs if secs < 172_800.0 => format!("{:.0}h", secs / 3_600.0),
        secs => format!("{:.0}d", secs / 86_400.0),
    }
}
