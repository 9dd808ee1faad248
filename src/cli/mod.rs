//! The command line: one file per command. Exit codes: 0 fine, 1 it failed, 2 usage or configuration, 3 partly done.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::Environment;

mod attest;
mod backfill;
pub mod check;
mod completions;
mod daemon;
mod dead_letters;
mod demo;
mod diff;
mod evidence;
mod gaps;
mod log_level;
mod logging;
mod man;
mod readable;
mod redelivery;
mod replay;
mod run;
mod schema;
mod status;
mod stopped;
mod tail;
mod terminal;
mod time;

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to.
    Fine,
    /// It failed.
    Failed,
    /// It was called wrongly, or the configuration is wrong.
    Usage,
    /// It did a part, and what remains is named.
    Partly,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Partly => 3,
        })
    }
}

/// Brings every Miro audit, content and AI log event into your SIEM: every event, or a named gap.
#[derive(Debug, Parser)]
#[command(name = "miro-siem", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    log: LogOptions,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  miro-siem demo                                       see it work, without an account
  MIRO_ACCESS_TOKEN=… miro-siem run                    audit events as NDJSON on stdout
  miro-siem check --config /etc/miro-siem/config.toml  find every mistake before the service does

Exit codes: 0 fine, 1 it failed, 2 usage or configuration, 3 partly done.";

#[derive(Clone, Debug, clap::Args)]
struct LogOptions {
    /// How logs look on stderr
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto)]
    log_format: LogFormat,
    /// How much is logged: error, warn, info, debug, trace, or directives such as `info,miro_siem::sink=debug`
    #[arg(long, global = true, env = "MIRO_SIEM_LOG", value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Text on a terminal, else JSON
    Auto,
    /// Text
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Clone, Debug, clap::Args)]
struct ConfigOption {
    /// The configuration: TOML, YAML or JSON by extension [default: /etc/miro-siem/config.toml where it exists]
    #[arg(long, short, env = "MIRO_SIEM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon. SIGTERM drains, a second SIGTERM stops at once
    Run(ConfigOption),
    /// Run the daemon against the built-in simulator, with events on stdout and the status page on
    Demo(demo::Options),
    /// Validate the configuration offline: every problem at once, each with its key
    Check(ConfigOption),
    /// Show what the running daemon is doing
    Status(status::Options),
    /// List what is not collected: open gaps, which will be, and lost ones
    Gaps(gaps::Options),
    /// Collect a range of a stream, through the running daemon, or alone where none runs
    Backfill(backfill::Options),
    /// Attest what was collected, hour by hour, as a page for an auditor
    Attest(attest::Options),
    /// Compare what was collected with a file of ids, such as an export from a SIEM
    Diff(diff::Options),
    /// Show events as the running daemon collects them
    Tail(tail::Options),
    /// Show or change how much the running daemon logs, without a restart
    LogLevel(log_level::Options),
    /// List, show, export, send again or drop the events that a receiver refused
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Send a range again to one sink
    Replay(replay::Options),
    /// Print the script with which a shell completes commands and options
    Completions(completions::Options),
    /// Print or install the manual pages
    Man(man::Options),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
}

/// Parses the arguments, runs the command and says how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stdout or stderr is no reason to fail differently.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Fine.into() };
        }
    };
    crate::net::install_tls_provider();
    match cli.command {
        Command::Check(options) => checked(&options),
        Command::Run(options) => run::run(&options, &cli.log),
        Command::Demo(options) => demo::run(&options, &cli.log),
        Command::Status(options) => status::run(&options),
        Command::Gaps(options) => gaps::run(&options),
        Command::Backfill(options) => backfill::run(&options, &cli.log),
        Command::Attest(options) => attest::run(&options),
        Command::Diff(options) => diff::run(&options),
        Command::Tail(options) => tail::run(&options),
        Command::LogLevel(options) => log_level::run(&options),
        Command::DeadLetters(command) => dead_letters::run(&command, &cli.log),
        Command::Replay(options) => replay::run(&options, &cli.log),
        Command::Completions(options) => completions::run(&options),
        Command::Man(options) => man::run(&options),
        Command::Schema => schema::run(),
    }
    .into()
}

fn checked(options: &ConfigOption) -> Exit {
    match check::run(options.config.as_deref(), &Environment::of_process(), &mut std::io::stdout()) {
        Ok(check::Verdict::Fine) => Exit::Fine,
        Ok(check::Verdict::Problems) => Exit::Usage,
        Err(error) => fail(&anyhow::Error::new(error).context("failed to write to stdout")),
    }
}

/// Prints a failure the way every command does.
fn fail(error: &anyhow::Error) -> Exit {
    report(&format!("error: {}", chain(error)));
    Exit::Failed
}

/// An error with its causes. Ours often tell theirs in their own sentence, before the mend: what has been said is not said again.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

/// A line for the person at the terminal.
fn report(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes a command's result to stdout. A reader that went away, such as `head`, is no failure; a full disk is.
fn print(text: &[u8]) -> Exit {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(&anyhow::Error::new(error).context("failed to write to stdout")),
        _ => Exit::Fine,
    }
}

/// The runtime that a command runs on.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[test]
    fn a_cause_is_told_once() {
        let told = anyhow::anyhow!("in use").context("failed to listen: in use; choose another port");
        assert_eq!(chain(&told), "failed to listen: in use; choose another port");
        let untold = anyhow::anyhow!("refused").context("failed to reach it");
        assert_eq!(chain(&untold), "failed to reach it: refused");
    }
}
