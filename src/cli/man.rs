//! `miro-siem man`: manual pages, made from the same declarations as the help texts: one for the program and one for each command.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::{Cli, Exit, fail, print, report};

const EXAMPLES: &str = "Examples:
  miro-siem man | man -l -                                read the page of the program
  miro-siem man dead-letters list | man -l -              read the page of a command
  miro-siem man --out /usr/local/share/man/man1           install all of them";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// The command whose page is printed [default: the program's own page]
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Write every page into this directory, which is made where it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A page and the name of its file.
struct Page {
    name: String,
    text: Vec<u8>,
}

pub(super) fn run(options: &Options) -> Exit {
    let pages = match pages() {
        Ok(pages) => pages,
        Err(error) => return fail(&error),
    };
    match &options.out {
        Some(dir) => match write(&pages, dir) {
            Ok(()) => Exit::Fine,
            Err(error) => fail(&error),
        },
        None => print_one(&pages, &options.command),
    }
}

fn print_one(pages: &[Page], command: &[String]) -> Exit {
    let wanted = format!("{}.1", std::iter::once("miro-siem").chain(command.iter().map(String::as_str)).collect::<Vec<_>>().join("-"));
    match pages.iter().find(|page| page.name == wanted) {
        Some(page) => print(&page.text),
        None => {
            report(&format!("error: there is no command {:?}; `miro-siem --help` lists them", command.join(" ")));
            Exit::Usage
        }
    }
}

fn pages() -> anyhow::Result<Vec<Page>> {
    // `help` says what the pages say.
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    collect(&root, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, pages: &mut Vec<Page>) -> anyhow::Result<()> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render(&mut text).context("failed to make a manual page")?;
    pages.push(Page { name: man.get_filename(), text });
    command.get_subcommands().try_for_each(|sub| collect(sub, pages))
}

fn write(pages: &[Page], dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
    pages.iter().try_for_each(|page| {
        let path = dir.join(&page.name);
        std::fs::write(&path, &page.text).with_context(|| format!("failed to write {}", path.display()))
    })
}
