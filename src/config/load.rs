//! From file and environment to settings, or to everything that is wrong with them.

use std::path::{Path, PathBuf};

use config::{FileFormat, Map, Source as _, Value};

use super::{
    Environment, Settings, compare,
    file::{self, Contents},
    general::{self, STATE_DIR},
    name,
    node::{Kind, Node, Origin},
    org,
    problem::{ConfigErrors, Faulty, Place, Places, Problem, Report},
    settings::{OrgSettings, SinkSettings, TlsSettings},
    sinks,
    table::{At, Table},
    value::Value as _,
};

/// Where the configuration is looked for when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/miro-siem/config.toml";

/// The variable that is enough where there is no file.
pub const TOKEN_VARIABLE: &str = "MIRO_ACCESS_TOKEN";

/// A configuration that holds no doubtful value any more.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program is given.
    pub settings: Settings,
    /// What is allowed and yet probably not meant.
    pub warnings: Vec<Problem>,
    /// Where it comes from.
    pub source: Source,
    pub(super) places: Places,
}

/// Where a configuration comes from. The environment is over it in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// No file: the environment alone, and what is built in.
    Environment,
}

/// Loads the configuration: the file at `path`, else the one at [`DEFAULT_PATH`] where it exists, else none; the environment over it.
/// Without a file, [`TOKEN_VARIABLE`] alone is enough.
pub fn load(path: Option<&Path>, env: &Environment) -> Result<Loaded, ConfigErrors> {
    let default = Path::new(DEFAULT_PATH);
    match path {
        Some(path) => load_file(path, env),
        None if default.exists() => load_file(default, env),
        None => load_without_file(env),
    }
}

fn load_file(path: &Path, env: &Environment) -> Result<Loaded, ConfigErrors> {
    let contents = file::read(path).map_err(errors)?;
    let source = Source::File(path.to_owned());
    build(contents, env, source, PathBuf::from(env.get("STATE_DIRECTORY").map_or(STATE_DIR, first_path)))
}

/// The configuration that a text holds, as if it were in a file of that name.
pub fn load_text(path: &Path, text: &str, env: &Environment) -> Result<Loaded, ConfigErrors> {
    let contents = file::parse_named(path, text).map_err(errors)?;
    build(contents, env, Source::File(path.to_owned()), PathBuf::from(env.get("STATE_DIRECTORY").map_or(STATE_DIR, first_path)))
}

fn load_without_file(env: &Environment) -> Result<Loaded, ConfigErrors> {
    let values = built_in(env).map_err(errors)?;
    build(Contents { values, places: Places::default() }, env, Source::Environment, state_dir_without_file(env))
}

fn errors(problems: Vec<Problem>) -> ConfigErrors {
    ConfigErrors { problems, warnings: Vec::new() }
}

fn nowhere(message: impl Into<String>) -> Problem {
    Problem { place: Place::Nowhere, key: String::new(), message: message.into() }
}

/// What holds without a file: the organisation of the token, unless the environment names another, and standard output, unless it
/// names another sink.
fn built_in(env: &Environment) -> Result<Map<String, Value>, Vec<Problem>> {
    let (orgs, sinks) = (env.names_in("orgs"), env.names_in("sinks"));
    let has_token = env.get(TOKEN_VARIABLE).is_some();
    if !has_token && orgs.is_empty() {
        let message = format!(
            "there is no configuration: write {DEFAULT_PATH} or name a file with --config, or set {TOKEN_VARIABLE} to collect the \
             audit log of that token's organisation to standard output"
        );
        return Err(vec![nowhere(message)]);
    }
    let mut text = String::new();
    if has_token && orgs.iter().all(|name| name == BUILT_IN_ORG) {
        text.push_str(&built_in_org(&env.names_in("orgs__miro")));
    }
    if sinks.iter().all(|name| name == "stdout") {
        text.push_str("[sinks.stdout]\ntype = \"stdout\"\n");
    }
    config::File::from_str(&text, FileFormat::Toml).collect().map_err(|error| vec![nowhere(error.to_string())])
}

/// The organisation that is there without a file.
const BUILT_IN_ORG: &str = "miro";

/// What that organisation has beside the keys that variables set.
fn built_in_org(set: &[String]) -> String {
    let sets_any = |names: &[&str]| set.iter().any(|name| names.contains(&name.as_str()));
    let token = if sets_any(&["oauth"]) { String::new() } else { format!("token = {{ env = \"{TOKEN_VARIABLE}\" }}\n") };
    let audit = if sets_any(&["audit", "content", "ai"]) { "" } else { "audit = {}\n" };
    format!("[orgs.{BUILT_IN_ORG}]\n{token}{audit}")
}

/// Where a process without a configuration file may write: what systemd made for it, else the user's own state.
fn state_dir_without_file(env: &Environment) -> PathBuf {
    let below = |dir: &str, path: &str| Path::new(dir).join(path);
    env.get("STATE_DIRECTORY")
        .map(|dirs| PathBuf::from(first_path(dirs)))
        .or_else(|| env.get("XDG_STATE_HOME").map(|dir| below(dir, "miro-siem")))
        .or_else(|| env.get("HOME").map(|dir| below(dir, ".local/state/miro-siem")))
        .unwrap_or_else(|| PathBuf::from(STATE_DIR))
}

/// systemd separates several state directories by colons.
fn first_path(dirs: &str) -> &str {
    dirs.split(':').next().unwrap_or(dirs)
}

/// One layer of values for the `config` crate to merge.
#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn build(contents: Contents, env: &Environment, source: Source, state_dir: PathBuf) -> Result<Loaded, ConfigErrors> {
    let over = env.layer(&contents.values).map_err(errors)?;
    let merged = config::Config::builder()
        .add_source(Layer(contents.values))
        .add_source(Layer(over))
        .build()
        .map_err(|error| errors(vec![nowhere(format!("the configuration cannot be merged: {error}"))]))?;
    let unmarked = if source == Source::Environment { Origin::BuiltIn } else { Origin::File };
    let root = Node::from_merged(merged.cache, &unmarked);
    let mut places = contents.places;
    root.variables("", &mut places.variables);
    let report = Report::new(places);
    let settings = settings(&report, &root, state_dir);
    if let Source::File(path) = &source {
        compare::warn_of_readable_secrets(&report, path);
    }
    let (settings, warnings, places) = report.finish(settings)?;
    Ok(Loaded { settings, warnings, source, places })
}

/// The sections of a configuration.
const SECTIONS: [&str; 5] = ["state", "admin", "tls", "orgs", "sinks"];

fn settings(report: &Report, root: &Node, state_dir: PathBuf) -> Result<Settings, Faulty> {
    let table = Table::open(At::root(report), root)?;
    table.refuse_unlisted(&SECTIONS);
    let state = section(&table, "state").and_then(|state| general::state(&state, state_dir));
    let admin = section(&table, "admin").and_then(|admin| {
        let dir = state.as_ref().ok().map(|state| state.dir.as_path());
        general::admin(&admin, dir)
    });
    let tls = table.raw("tls").map_or_else(|| Ok(TlsSettings::default()), |node| TlsSettings::read(&table.at.child("tls"), node));
    let orgs = orgs(&table);
    // A fault of [tls] is told once, not again at each sink.
    let global = tls.as_ref().map_or_else(|_| TlsSettings::default(), Clone::clone);
    let sinks = sinks(&table, &global);
    let settings = Settings { state: state?, admin: admin?, tls: tls?, orgs: orgs?, sinks: sinks? };
    compare::compare(report, &settings)?;
    Ok(settings)
}

/// A section of fixed keys; one that is left out is empty.
fn section<'a>(root: &Table<'a>, name: &str) -> Result<Table<'a>, Faulty> {
    Table::open(root.at.child(name), root.raw(name).unwrap_or(&EMPTY))
}

static EMPTY: Node = Node { kind: Kind::Nothing, origin: Origin::BuiltIn };

fn orgs(root: &Table<'_>) -> Result<Vec<OrgSettings>, Faulty> {
    let table = section(root, "orgs")?;
    name::refuse_collisions(&table);
    if table.entries().next().is_none() {
        return Err(
            root.problem("orgs", "is missing: no organisation is configured; add [orgs.<name>] with a token, and [orgs.<name>.audit]")
        );
    }
    let read: Vec<_> = table.entries().map(|(name, node)| org::org(table.at.child(name), name, node)).collect();
    read.into_iter().collect()
}

fn sinks(root: &Table<'_>, tls: &TlsSettings) -> Result<Vec<SinkSettings>, Faulty> {
    let table = section(root, "sinks")?;
    name::refuse_collisions(&table);
    if table.entries().next().is_none() {
        return Err(root.problem("sinks", "is missing: there is nowhere to deliver to; add [sinks.<name>] with a type"));
    }
    let read: Vec<_> = table.entries().map(|(name, node)| sinks::sink(table.at.child(name), name, node, tls)).collect();
    read.into_iter().collect()
}
