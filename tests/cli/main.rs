//! The commands that explain, list and help: what they print is true, whole and fits where it is shown.

mod attest;
mod backfill;
mod control;
mod daemon;
mod dead_letters;

use std::{collections::BTreeMap, fs, process::Command, process::Output};

use clap::{CommandFactory, Parser as _};
use miro_siem::cli::Cli;

/// The program, without any configuration or colour of the machine.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_miro-siem"));
    for (name, _) in std::env::vars() {
        if name.starts_with("MIRO_") || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.stdin(std::process::Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    command().args(args).output().expect("the command runs")
}

#[track_caller]
fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Every command that does something, as it is typed, with its declaration.
fn commands() -> BTreeMap<String, clap::Command> {
    fn collect(path: &str, command: &clap::Command, found: &mut BTreeMap<String, clap::Command>) {
        let subs: Vec<_> = command.get_subcommands().filter(|sub| sub.get_name() != "help").collect();
        if subs.is_empty() {
            found.insert(path.to_owned(), command.clone());
        }
        subs.iter().for_each(|sub| collect(&format!("{path} {}", sub.get_name()), sub, found));
    }
    let mut root = Cli::command();
    root.build();
    let mut found = BTreeMap::new();
    collect("miro-siem", &root, &mut found);
    found
}

/// The rows of the README's table of commands, each as the words in its first cell.
fn rows_of_the_readme() -> Vec<String> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the README is there");
    let section = readme.split("\n## Commands\n").nth(1).expect("it has a section on commands").split("\n## ").next().unwrap_or_default();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `miro-siem ").and_then(|rest| rest.split('`').next()));
    cells.map(|cell| format!("miro-siem {cell}")).collect()
}

#[test]
fn the_readme_lists_every_command_once_and_no_other() {
    let is_name = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-') && !word.starts_with('-');
    let names = |row: &String| row.split(' ').take_while(is_name).collect::<Vec<_>>().join(" ");
    let mut listed: Vec<String> = rows_of_the_readme().iter().map(names).collect();
    listed.sort();
    assert_eq!(listed, commands().into_keys().collect::<Vec<_>>());
}

#[test]
fn every_option_that_the_readme_names_exists() {
    let commands = commands();
    for row in rows_of_the_readme() {
        let (_, declared) = commands.iter().find(|(path, _)| row == **path || row.starts_with(&format!("{path} "))).expect("a command");
        for option in row.split(['[', ']', ' ']).filter_map(|word| word.strip_prefix("--")) {
            assert!(declared.get_arguments().any(|argument| argument.get_long() == Some(option)), "{row}: there is no --{option}");
        }
    }
}

/// The lines of a page's shell blocks that call this program, and nothing that a shell would do to them.
fn calls_of(page: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|error| panic!("{page}: {error}"));
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect::<Vec<_>>();
    let lines = blocks.iter().flat_map(|block| block.lines()).filter(|line| line.starts_with("miro-siem "));
    lines.map(|line| line.split(['#', '|']).next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn every_command_of_the_privacy_page_is_one() {
    let calls = calls_of("docs/privacy.md");
    assert!(calls.len() >= 3, "{calls:?}");
    for call in calls {
        assert!(Cli::try_parse_from(&call).is_ok(), "{call:?}");
    }
}

#[test]
fn every_shell_gets_completions_that_know_the_commands_and_their_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&["completions", shell]);
        for wanted in ["dead-letters", "completions", "watch", "reason"] {
            assert!(script.contains(wanted), "{shell}: {wanted}");
        }
    }
    assert_eq!(run(&["completions", "cmd.exe"]).status.code(), Some(2));
}

#[test]
fn bash_takes_the_completions_and_completes_with_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("completions");
    fs::write(&script, stdout(&["completions", "bash"])).expect("written");
    let ask = "source \"$1\"; COMP_WORDS=(miro-siem dead-letters sh); COMP_CWORD=2; _miro__siem miro-siem sh dead-letters; echo \"${COMPREPLY[*]}\"";
    let output = Command::new("bash").args(["--norc", "-c", ask, "bash"]).arg(&script).output().expect("bash runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "show");
}

#[test]
fn every_command_has_a_manual_page_with_its_options() {
    let dir = tempfile::tempdir().expect("a directory");
    let pages = dir.path().join("share/man1");
    stdout(&["man", "--out", pages.to_str().expect("text")]);
    for (path, declared) in commands() {
        let page =
            fs::read_to_string(pages.join(format!("{}.1", path.replace(' ', "-")))).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{path}: {page}");
        for option in declared.get_arguments().filter(|argument| !argument.is_hide_set()).filter_map(clap::Arg::get_long) {
            assert!(page.contains(&option.replace('-', "\\-")), "{path}: --{option}");
        }
        let typed: Vec<&str> = path.split(' ').skip(1).collect();
        assert_eq!(stdout(&[&["man"], &typed[..]].concat()), page, "{path}");
    }
    assert!(pages.join("miro-siem.1").is_file() && pages.join("miro-siem-dead-letters.1").is_file());
}

#[test]
fn a_page_of_no_command_is_refused_with_the_way_to_the_commands() {
    let output = run(&["man", "stauts"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stauts"));
}

#[test]
fn the_schema_knows_every_key_of_the_reference_page() {
    let schema: serde_json::Value = serde_json::from_str(&stdout(&["schema"])).expect("JSON");
    let mut names = Vec::new();
    property_names(&schema, &mut names);
    let page = miro_siem::config::reference::reference();
    // Before the sections of keys, the page has a table of environment variables.
    let keys: Vec<&str> =
        page.lines().skip_while(|line| *line != "## [state]").filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys.iter().flat_map(|key| key.split('.')) {
        assert!(names.iter().any(|name| name == key), "{key} is not in the schema");
    }
}

fn property_names(schema: &serde_json::Value, names: &mut Vec<String>) {
    if let Some(properties) = schema.get("properties").and_then(serde_json::Value::as_object) {
        names.extend(properties.keys().cloned());
    }
    match schema {
        serde_json::Value::Object(members) => members.values().for_each(|member| property_names(member, names)),
        serde_json::Value::Array(elements) => elements.iter().for_each(|element| property_names(element, names)),
        _ => {}
    }
}
