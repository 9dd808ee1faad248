//! `miro-siem completions SHELL`: the script with which a shell completes our commands and options.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Exit, fail, print};

const EXAMPLES: &str = "Examples:
  miro-siem completions bash > /etc/bash_completion.d/miro-siem
  miro-siem completions zsh > \"${fpath[1]}/_miro-siem\"
  miro-siem completions fish > ~/.config/fish/completions/miro-siem.fish";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// The shell that the script is for
    shell: Shell,
}

pub(super) fn run(options: &Options) -> Exit {
    let mut script = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    match (options.shell, String::from_utf8(script)) {
        (Shell::Bash, Ok(script)) => print(with_one_spelling(&script).as_bytes()),
        (_, Ok(script)) => print(script.as_bytes()),
        (_, Err(error)) => fail(&anyhow::Error::new(error).context("failed to make the script")),
    }
}

/// clap_complete spells a program's name with a dash in two ways in its script for bash, which then completes no subcommand
/// (clap issue 6421, open with 4.6.11). Where that is mended, this finds nothing to change.
fn with_one_spelling(script: &str) -> String {
    script.replace("miro__subcmd__siem", "miro__siem")
}
