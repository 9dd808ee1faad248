//! The simulator as a program: one JSON line on stdout once it listens, then it serves until SIGTERM or Ctrl-C.

#![forbid(unsafe_code)]

use std::io::Write;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::{Parser, ValueEnum};
use miro_simulator::{AuthConfig, DAY, FaultPlan, LastPage, LiveMode, RetryAfter, SimConfig, Simulator};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A faithful Miro REST API with a made-up organisation behind it.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
    /// Everything derives from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The organisation's present moment at the start (RFC 3339); default: now.
    #[arg(long)]
    now: Option<DateTime<Utc>>,
    /// Days of history.
    #[arg(long, default_value_t = 90)]
    days: u32,
    /// Audit events in the history; default 1111 a day.
    #[arg(long)]
    audit_events: Option<u64>,
    /// Content entries in the history; default 222 a day.
    #[arg(long)]
    content_events: Option<u64>,
    /// AI entries in the history; default 44 a day.
    #[arg(long)]
    ai_events: Option<u64>,
    /// Members of the organisation.
    #[arg(long, default_value_t = 250)]
    members: u32,
    /// New events go on appearing, at the organisation's daily rhythm.
    #[arg(long)]
    live: bool,
    /// New audit events a minute, at any hour; implies --live.
    #[arg(long, value_name = "PER_MINUTE")]
    live_rate: Option<f64>,
    /// The share of events that becomes visible late, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    late_fraction: f64,
    /// How late at most: 90s, 15m, 3h, 2d.
    #[arg(long, default_value = "3h", value_parser = duration)]
    late_max: Duration,
    /// The share of records without a usable id or time, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    undecodable_fraction: f64,
    /// Credits a minute for each token.
    #[arg(long, default_value_t = 100_000, conflicts_with = "no_quota")]
    credits: u32,
    /// No quota at all.
    #[arg(long)]
    no_quota: bool,
    /// Send Retry-After with 429, which Miro does not document.
    #[arg(long)]
    retry_after: bool,
    /// The largest limit that an audit listing accepts.
    #[arg(long, default_value_t = 500)]
    audit_limit_max: u32,
    /// How far back audit events are served.
    #[arg(long, default_value = "90d", value_parser = duration)]
    audit_retention: Duration,
    /// How far back content and AI entries are served.
    #[arg(long, default_value = "90d", value_parser = duration)]
    content_retention: Duration,
    /// Faults by chance.
    #[arg(long, value_enum, default_value_t = Faults::None)]
    faults: Faults,
    /// Time that every answer takes: 250ms..350ms, or one value.
    #[arg(long, default_value = "0ms", value_parser = latency)]
    latency: RangeInclusive<Duration>,
    /// Life of an access token of the app.
    #[arg(long, default_value = "3599s", value_parser = duration)]
    access_lifetime: Duration,
    /// The last audit page never has a cursor, rather than behaving differently from window to window.
    #[arg(long)]
    plain_last_page: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Faults {
    /// One request in eight meets a fault of any kind that passes by itself.
    Default,
    None,
}

impl Args {
    fn config(&self) -> SimConfig {
        let base = SimConfig::default().with_days(self.days);
        let mut auth = AuthConfig::default();
        for app in &mut auth.apps {
            app.access_lifetime = self.access_lifetime;
        }
        SimConfig {
            seed: self.seed,
            now: self.now.unwrap_or_else(Utc::now),
            audit_events: self.audit_events.unwrap_or(base.audit_events),
            content_events: self.content_events.unwrap_or(base.content_events),
            ai_events: self.ai_events.unwrap_or(base.ai_events),
            members: self.members,
            live: if self.live { LiveMode::Rhythm } else { LiveMode::Off },
            live_rate_per_minute: self.live_rate,
            late_fraction: self.late_fraction,
            late_max: self.late_max,
            undecodable_fraction: self.undecodable_fraction,
            credits_per_minute: (!self.no_quota).then_some(self.credits),
            retry_after: if self.retry_after { RetryAfter::Seconds } else { RetryAfter::Absent },
            audit_limit_max: self.audit_limit_max,
            audit_retention: self.audit_retention,
            content_retention: self.content_retention,
            faults: if self.faults == Faults::Default { FaultPlan::rough() } else { FaultPlan::none() },
            latency: self.latency.clone(),
            last_page: if self.plain_last_page { LastPage::Absent } else { LastPage::Varied },
            auth,
            ..base
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1 is needed".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("{text:?} is not a duration such as 250ms, 90s, 15m, 3h or 2d");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(problem)?;
    let number: u32 = text[..digits].parse().map_err(|_| problem())?;
    let unit = match &text[digits..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3_600),
        "d" => DAY,
        _ => return Err(problem()),
    };
    Ok(unit * number)
}

fn latency(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let range = duration(least)?..=duration(most)?;
    if range.is_empty() { Err("the first duration must not be longer than the second".to_owned()) } else { Ok(range) }
}

/// What a caller needs to know: where it listens, and what opens it.
fn announcement(sim: &Simulator, address: SocketAddr) -> serde_json::Value {
    let auth = sim.auth();
    let tokens: serde_json::Map<_, _> = auth.tokens.iter().map(|token| (token.name.clone(), token.token.clone().into())).collect();
    let apps = auth.apps.iter().map(|app| {
        json!({
            "name": app.name,
            "client_id": app.client_id,
            "client_secret": app.client_secret,
            "access_token": app.access_token,
            "refresh_token": app.refresh_token,
        })
    });
    json!({
        "url": format!("http://{address}"),
        "org_id": sim.org_id(),
        "now": sim.config().now,
        "tokens": tokens,
        "apps": apps.collect::<Vec<_>>(),
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("failed to listen on {}: is another program there?", args.listen))?;
    let sim = Simulator::new(args.config());
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", announcement(&sim, listener.local_addr()?))?;
    stdout.flush()?;
    let shutdown = CancellationToken::new();
    let serving = sim.serve(listener, shutdown.clone());
    let stopping = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    };
    let (served, ()) = tokio::join!(serving, stopping);
    served.context("failed to serve")
}
