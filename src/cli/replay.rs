//! `miro-siem replay`: sends a range again to one sink, through the running daemon, or alone where none runs.

use super::{
    Exit, LogOptions,
    daemon::{self, DaemonOptions, Request},
    redelivery::{self, Ask, JOBS, Show, Wait},
    time::{When, when},
};
use crate::{
    admin::control::{RedeliveryKind, RedeliveryStatus, ReplayRequest},
    clock::Clock,
};

const EXAMPLES: &str = "Examples:
  miro-siem replay --sink splunk --from 24h
  miro-siem replay --sink splunk --from 2026-01-01 --to 2026-01-02 --stream audit --detach
  miro-siem replay --list
  miro-siem replay --cancel replay-1f09c3ab

What the journal still holds is taken from there, what is older is asked for from Miro, with the lowest priority of its quota. The normal
flow goes on beside it, and the receiver gets the same ids again. With a daemon running, Ctrl-C lets go of the replay, and it goes on;
without one, Ctrl-C ends it.

Exit codes: 0 sent, 1 it failed, 2 usage or configuration, 3 a part of it: it was cancelled, or events were refused.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("instead").args(["list", "cancel"]))]
pub(super) struct Options {
    /// The sink, by its name in the configuration
    #[arg(long, value_name = "SINK", required_unless_present = "instead", conflicts_with = "instead")]
    sink: Option<String>,
    /// Where the range begins: a time, a date, or an age such as 24h
    #[arg(long, value_name = "TIME", value_parser = when, required_unless_present = "instead", conflicts_with = "instead")]
    from: Option<When>,
    /// Where it ends: the first instant that is not in it [default: now]
    #[arg(long, value_name = "TIME", value_parser = when, conflicts_with = "instead")]
    to: Option<When>,
    /// Only this stream: audit, content or ai
    #[arg(long, value_name = "STREAM", conflicts_with = "instead")]
    stream: Option<String>,
    /// Only this organisation, by its name in the configuration
    #[arg(long, value_name = "ORG", conflicts_with = "instead")]
    org: Option<String>,
    /// Ask the daemon for it and do not wait
    #[arg(long, conflicts_with = "instead")]
    detach: bool,
    /// List the daemon's replays and retries, with how far they are
    #[arg(long)]
    list: bool,
    /// End one of them; what it has delivered stays delivered
    #[arg(long, value_name = "ID")]
    cancel: Option<String>,
    #[command(flatten)]
    daemon: DaemonOptions,
    /// Print the result as JSON, one line for each stream
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, log: &LogOptions) -> Exit {
    let show = if options.json { Show::Json } else { Show::Words };
    if options.list {
        return daemon::with_admin(&options.daemon, async |admin| {
            let jobs: Vec<RedeliveryStatus> = daemon::call(&admin, &Request::get(JOBS)).await?;
            if jobs.is_empty() && show == Show::Words {
                return Ok(super::print(b"no replays and no retries\n"));
            }
            redelivery::summary(&jobs, show).map(|_| Exit::Fine)
        });
    }
    if let Some(id) = &options.cancel {
        return daemon::with_admin(&options.daemon, async |admin| {
            let job: RedeliveryStatus = daemon::call(&admin, &Request::delete(format!("{JOBS}/{id}"))).await?;
            debug_assert!(matches!(job.kind, RedeliveryKind::Retry | RedeliveryKind::Replay));
            redelivery::summary(&[job], show).map(|_| Exit::Fine)
        });
    }
    let now = Clock::system().now();
    // The parser asks for both unless there is something else to do.
    let (Some(sink), Some(from)) = (options.sink.clone(), options.from) else { return Exit::Usage };
    let ask = ReplayRequest {
        sink,
        from: from.instant(now),
        to: options.to.map(|to| to.instant(now)),
        org: options.org.clone(),
        stream: options.stream.clone(),
    };
    let wait = if options.detach { Wait::Detached } else { Wait::ToTheEnd };
    redelivery::carry_out(&options.daemon, log, &Ask::Replay(ask), show, wait)
}
