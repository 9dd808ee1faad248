//! Talking to the running daemon: over its unix socket where there is one, else over TCP. What every command that does so has in common.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::Context;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;

use super::{ConfigOption, Exit, fail, report, runtime};
use crate::{
    admin::status::Status,
    config::{self, Environment, settings::AdminSettings},
    net::{self, BodyFault},
};

/// The daemon answers from memory; one that does not within this time hangs.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What comes without an end is never silent for longer than this.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A status with thousands of gaps is still smaller, and so is the attestation of 20 streams over 400 days.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Where a daemon without a configuration listens: the default of admin.listen.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9494);

/// Which daemon is asked.
#[derive(Debug, clap::Args)]
pub(super) struct DaemonOptions {
    #[command(flatten)]
    pub(super) config: ConfigOption,
    /// The daemon's admin address or the path of its socket, where it is not the configured one
    #[arg(long, value_name = "IP:PORT|PATH")]
    pub(super) admin: Option<Address>,
}

/// Where a daemon is asked for.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// The unix socket.
    Socket(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(address) => Ok(Self::Tcp(address)),
            Err(_) if text.contains('/') => Ok(Self::Socket(PathBuf::from(text))),
            Err(_) => Err("needs an address such as 127.0.0.1:9494, or the path of a socket".to_owned()),
        }
    }
}

/// Why the daemon has not done what it was asked to.
#[derive(Debug, Error)]
pub(super) enum DaemonError {
    /// Nobody answers.
    #[error("failed to reach the daemon at {tried}; is `miro-siem run` running with this configuration? {detail}")]
    Absent {
        /// Where it was looked for.
        tried: String,
        /// What the system said.
        detail: String,
    },
    /// It is configured not to listen anywhere.
    #[error("the admin endpoint is off (admin.listen and admin.socket); switch one of them on to ask the daemon")]
    Off,
    /// It says no.
    #[error("the daemon at {tried} refused ({status}): {why}")]
    Refused {
        /// Where it was asked.
        tried: String,
        /// The HTTP status.
        status: StatusCode,
        /// Its words.
        why: String,
    },
    /// What it says makes no sense.
    #[error("failed to understand the daemon's answer: {0}; is it of another version?")]
    Unclear(String),
    /// Something on this side.
    #[error(transparent)]
    Setup(#[from] anyhow::Error),
}

impl DaemonError {
    /// Whether no daemon is there at all.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::Off)
    }
}

/// What the daemon answered.
pub(super) struct Answer {
    /// The status.
    pub(super) status: Status,
    /// The same as it came: JSON on one line.
    pub(super) body: String,
}

/// Does something with an admin endpoint, on a runtime of its own; a fault of the configuration ends it before.
pub(super) fn with_admin<F>(options: &DaemonOptions, act: impl FnOnce(AdminSettings) -> F) -> Exit
where
    F: Future<Output = anyhow::Result<Exit>>,
{
    let admin = match admin(options) {
        Ok(admin) => admin,
        Err(problem) => {
            report(&problem);
            return Exit::Usage;
        }
    };
    let done = runtime().context("failed to start the runtime").and_then(|runtime| runtime.block_on(act(admin)));
    done.unwrap_or_else(|error| fail(&error))
}

/// Where the daemon listens. Without any configuration it is where a daemon without one listens.
fn admin(options: &DaemonOptions) -> Result<AdminSettings, String> {
    let path = options.config.config.as_deref();
    let none = AdminSettings { listen: None, socket: None, token: None, tls: None, hosts: Vec::new() };
    let loaded = config::load(path, &Environment::of_process()).map(|loaded| loaded.settings.admin);
    match (&options.admin, loaded) {
        (Some(Address::Tcp(listen)), loaded) => {
            let known = loaded.unwrap_or(none);
            Ok(AdminSettings { listen: Some(*listen), socket: None, ..known })
        }
        (Some(Address::Socket(path)), _) => Ok(AdminSettings { socket: Some(path.clone()), ..none }),
        (None, Ok(admin)) => Ok(admin),
        (None, Err(_)) if path.is_none() && !Path::new(config::DEFAULT_PATH).exists() => {
            Ok(AdminSettings { listen: Some(DEFAULT_LISTEN), ..none })
        }
        (None, Err(problems)) => Err(problems.to_string()),
    }
}

/// Asks for the status.
pub(super) async fn ask(admin: &AdminSettings) -> anyhow::Result<Answer> {
    let response = send(admin, &Request::get("/api/v1/status")).await?;
    let body = whole(response).await?;
    let status = serde_json::from_str(&body).map_err(|error| DaemonError::Unclear(error.to_string()))?;
    Ok(Answer { status, body })
}

/// What is asked of the daemon.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: Method,
    path: String,
    body: Option<serde_json::Value>,
}

impl Request {
    /// For something that is read.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }

    /// For a change.
    pub(super) fn post(path: impl Into<String>, body: serde_json::Value) -> Self {
        Self { method: Method::POST, body: Some(body), ..Self::get(path) }
    }

    /// For something to go away.
    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }
}

/// Asks, and reads the answer as JSON.
pub(super) async fn call<T: DeserializeOwned>(admin: &AdminSettings, request: &Request) -> Result<T, DaemonError> {
    let body = whole(send(admin, request).await?).await?;
    serde_json::from_str(&body).map_err(|error| DaemonError::Unclear(error.to_string()))
}

/// Asks over the socket, else over TCP. A refusal over TCP that names a socket, as a daemon with another configuration does, is followed there.
pub(super) async fn send(admin: &AdminSettings, request: &Request) -> Result<reqwest::Response, DaemonError> {
    let (mut tried, mut details) = (Vec::new(), Vec::new());
    if let Some(path) = &admin.socket {
        match over(&Way::Socket(path), request).await {
            Err(DaemonError::Absent { tried: at, detail }) => {
                tried.push(at);
                details.push(detail);
            }
            done => return done,
        }
    }
    let Some(listen) = admin.listen else {
        return Err(if tried.is_empty() { DaemonError::Off } else { absent(&tried, &details) });
    };
    match over(&Way::Tcp(listen, admin), request).await {
        Err(DaemonError::Absent { tried: at, detail }) => {
            tried.push(at);
            details.push(detail);
            Err(absent(&tried, &details))
        }
        done => done,
    }
}

fn absent(tried: &[String], details: &[String]) -> DaemonError {
    DaemonError::Absent { tried: tried.join(" and "), detail: details.join("; ") }
}

/// A way to a daemon.
enum Way<'a> {
    Socket(&'a Path),
    Tcp(SocketAddr, &'a AdminSettings),
}

/// The members of a refusal.
#[derive(Deserialize)]
struct Told {
    error: String,
    socket: Option<PathBuf>,
}

async fn over(way: &Way<'_>, request: &Request) -> Result<reqwest::Response, DaemonError> {
    let (client, base, tried) = match way {
        Way::Socket(path) => (net::socket_client(path), "http://localhost".to_owned(), path.display().to_string()),
        Way::Tcp(address, admin) => {
            let scheme = if admin.tls.is_some() { "https" } else { "http" };
            (net::local_client(admin.tls.as_ref()), format!("{scheme}://{address}"), address.to_string())
        }
    };
    let client = client.context("failed to set up the request")?;
    let mut builder = client.request(request.method.clone(), format!("{base}{}", request.path));
    if let Way::Tcp(_, AdminSettings { token: Some(token), .. }) = way {
        builder = builder.bearer_auth(token.read().context("failed to read admin.token")?.expose_secret());
    }
    if let Some(body) = &request.body {
        builder = builder.header(reqwest::header::CONTENT_TYPE, "application/json").body(body.to_string());
    }
    // Only the head of the answer has to come in this time: some bodies have no end, see `next_piece`.
    let answering = tokio::time::timeout(TIMEOUT, builder.send()).await;
    let answer = answering.map_err(|_| anyhow::anyhow!("the daemon at {tried} does not answer within {} s", TIMEOUT.as_secs()))?;
    let answer = answer.map_err(|error| DaemonError::Absent { tried: tried.clone(), detail: net::describe(&error) })?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let body = net::read_body_start(answer, REFUSAL_BYTES_MAX, TIMEOUT).await;
    let told = serde_json::from_slice::<Told>(&body)
        .unwrap_or_else(|_| Told { error: String::from_utf8_lossy(&body).trim().to_owned(), socket: None });
    match told.socket {
        Some(path) if matches!(way, Way::Tcp(..)) && path.exists() => {
            Box::pin(over(&Way::Socket(&path), request)).await.map_err(|error| match error {
                DaemonError::Absent { detail, .. } => {
                    DaemonError::Refused { tried, status, why: format!("{}, as its user or root ({detail})", told.error) }
                }
                error => error,
            })
        }
        _ => Err(DaemonError::Refused { tried, status, why: super::readable::clean(&told.error) }),
    }
}

/// Reads an answer to its end.
pub(super) async fn whole(answer: reqwest::Response) -> Result<String, DaemonError> {
    let body = whole_bytes(answer).await?;
    String::from_utf8(body.into()).map_err(|error| DaemonError::Unclear(error.to_string()))
}

/// The same for an answer that is no text.
pub(super) async fn whole_bytes(answer: reqwest::Response) -> Result<bytes::Bytes, DaemonError> {
    let body = net::read_body(answer, ANSWER_BYTES_MAX, TIMEOUT).await.map_err(|fault| {
        DaemonError::Unclear(match fault {
            BodyFault::TooLarge { .. } => "it is larger than any answer of miro-siem".to_owned(),
            BodyFault::Stalled { after } => format!("it broke off for {} s", after.as_secs()),
            BodyFault::Transport { detail, .. } => detail,
        })
    })?;
    Ok(body)
}

/// The next piece of an answer without an end; `None` at its end.
pub(super) async fn next_piece(answer: &mut reqwest::Response) -> Result<Option<bytes::Bytes>, DaemonError> {
    match tokio::time::timeout(SILENCE_MAX, answer.chunk()).await {
        Ok(piece) => piece.map_err(|error| DaemonError::Unclear(net::describe(&error))),
        Err(_) => Err(DaemonError::Unclear(format!("it broke off for {} s", SILENCE_MAX.as_secs()))),
    }
}
