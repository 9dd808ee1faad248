//! Asking the running daemon how it is doing: what `status` and `gaps` have in common.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use secrecy::ExposeSecret;

use super::{ConfigOption, Exit, fail, report, runtime};
use crate::{
    admin::status::Status,
    config::{self, Environment, settings::AdminSettings},
    net,
};

/// The daemon answers from memory; one that does not within this time hangs.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A status with thousands of gaps is still smaller.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Where a daemon without a configuration listens: the default of admin.listen.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9494);

/// Which daemon is asked.
#[derive(Debug, clap::Args)]
pub(super) struct DaemonOptions {
    #[command(flatten)]
    config: ConfigOption,
    /// The daemon's admin address, where it is not the configured one
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,
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
    let loaded = config::load(path, &Environment::of_process());
    match (options.admin, loaded) {
        (Some(listen), loaded) => {
            Ok(AdminSettings { listen: Some(listen), token: loaded.ok().and_then(|loaded| loaded.settings.admin.token) })
        }
        (None, Ok(loaded)) => Ok(loaded.settings.admin),
        (None, Err(_)) if path.is_none() && !Path::new(config::DEFAULT_PATH).exists() => {
            Ok(AdminSettings { listen: Some(DEFAULT_LISTEN), token: None })
        }
        (None, Err(problems)) => Err(problems.to_string()),
    }
}

/// Asks for the status.
pub(super) async fn ask(admin: &AdminSettings) -> anyhow::Result<Answer> {
    let body = fetch(admin).await?;
    let status = serde_json::from_str(&body).context("failed to understand the daemon's answer; is it of another version?")?;
    Ok(Answer { status, body })
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
