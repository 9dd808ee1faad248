//! `miro-siem check`: validates the configuration offline and tells every problem at once.

use std::{
    io::{self, Write},
    path::Path,
};

use crate::config::{self, Environment, Loaded, Problem, Source};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The service can run with this configuration.
    Fine,
    /// It cannot, or not with all of it.
    Problems,
}

impl Verdict {
    /// The exit code of the command: 0, or 2 for a fault of the configuration.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Problems => 2,
        }
    }
}

/// Checks the configuration at `path`, else the one that the service would use, and writes what it finds to `out`, a line each.
/// Opens no connection. Fails only when `out` does.
pub fn run(path: Option<&Path>, env: &Environment, out: &mut dyn Write) -> io::Result<Verdict> {
    let (problems, warnings, loaded) = match config::load(path, env) {
        Ok(loaded) => {
            let found = config::verify(&loaded);
            (found.problems, [loaded.warnings.clone(), found.warnings].concat(), Some(loaded))
        }
        Err(errors) => (errors.problems, errors.warnings, None),
    };
    write_all(out, "warning", &warnings)?;
    write_all(out, "error", &problems)?;
    match loaded {
        Some(loaded) if problems.is_empty() => {
            summarise(out, &loaded)?;
            Ok(Verdict::Fine)
        }
        _ => {
            writeln!(out, "{} found", count(problems.len(), "problem"))?;
            Ok(Verdict::Problems)
        }
    }
}

fn write_all(out: &mut dyn Write, label: &str, problems: &[Problem]) -> io::Result<()> {
    problems.iter().try_for_each(|problem| writeln!(out, "{label}: {problem}"))
}

fn summarise(out: &mut dyn Write, loaded: &Loaded) -> io::Result<()> {
    let (orgs, sinks) = (&loaded.settings.orgs, &loaded.settings.sinks);
    let streams: usize = orgs.iter().map(|org| org.streams.len()).sum();
    let source = match &loaded.source {
        Source::File(path) => path.display().to_string(),
        Source::Environment => "the environment alone".to_owned(),
    };
    let (orgs_count, streams, sinks_count) = (count(orgs.len(), "organisation"), count(streams, "stream"), count(sinks.len(), "sink"));
    writeln!(out, "ok: {source}: {orgs_count}, {streams}, {sinks_count}")?;
    for org in orgs {
        let kinds: Vec<&str> = org.streams.iter().map(|stream| stream.kind.as_str()).collect();
        writeln!(out, "  organisation {}: {}", org.name, kinds.join(", "))?;
    }
    for sink in sinks {
        writeln!(out, "  sink {}: {}", sink.name, sink.kind.type_name())?;
    }
    writeln!(out, "  state directory {}", loaded.settings.state.dir.display())
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
