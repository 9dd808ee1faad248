//! `miro-siem completions SHELL`: the script with which a shell completes our commands and options.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Exit, print};

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
    print(&script)
}
