//! `miro-siem log-level`: how much the running daemon logs, shown and changed without a restart.

use serde_json::json;

use super::{
    Exit,
    daemon::{self, Request},
    print,
    readable::clean,
};
use crate::admin::control::LogDirectives;

const PATH: &str = "/api/v1/log-level";

const EXAMPLES: &str = "Examples:
  miro-siem log-level                              what holds now
  miro-siem log-level miro_siem::source=debug      more of one module, the others as they are
  miro-siem log-level debug                        more of everything
  miro-siem log-level --reset                      back to what the daemon was started with";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// A level for everything (error, warn, info, debug, trace), or directives such as `miro_siem::sink=debug`, which change single modules only
    #[arg(value_name = "DIRECTIVES", conflicts_with = "reset")]
    directives: Option<String>,
    /// Go back to what the daemon was started with
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    daemon: daemon::DaemonOptions,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Exit {
    daemon::with_admin(&options.daemon, async |admin| {
        let request = match &options.directives {
            Some(directives) => Request::post(PATH, json!({ "directives": directives })),
            None if options.reset => Request::delete(PATH),
            None => Request::get(PATH),
        };
        let told: LogDirectives = daemon::call(&admin, &request).await?;
        let text = if options.json { serde_json::to_string(&told)? + "\n" } else { sentence(&told) };
        Ok(print(text.as_bytes()))
    })
}

fn sentence(told: &LogDirectives) -> String {
    let (now, before) = (clean(&told.directives), clean(&told.started_with));
    if now == before { format!("{now}\n") } else { format!("{now} (started with {before})\n") }
}
