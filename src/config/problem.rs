//! What is wrong or doubtful in a configuration, and where it is written.

use std::{cell::RefCell, collections::BTreeMap, fmt, path::PathBuf};

use super::node::Origin;

/// One thing that is wrong, or only doubtful; prints as `config.toml:12: sinks.splunk.url: …`. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is written.
    pub place: Place,
    /// The full key, such as `sinks.splunk.url`; empty where the whole configuration is meant.
    pub key: String,
    /// What was found, and what is meant.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Nowhere => {}
            place => write!(f, "{place}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, at a line where it is known (counted from 1).
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: Option<usize>,
    },
    /// In an environment variable of that name.
    Environment(String),
    /// Nowhere: it is missing, or built in.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Nowhere => f.write_str("the built-in defaults"),
        }
    }
}

/// Everything that is wrong with a configuration, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one.
    pub problems: Vec<Problem>,
    /// What is doubtful beside them.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "the configuration has {count} problem{}", if count == 1 { "" } else { "s" })?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// A problem has been recorded: there is no value, and nothing more to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faulty;

/// Where keys are written, as far as the file's form tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// The file; `None` where there is none.
    pub(super) file: Option<PathBuf>,
    /// The line of each key, for TOML.
    pub(super) lines: BTreeMap<String, usize>,
    /// The variable that each key comes from, where one goes over the file.
    pub(super) variables: BTreeMap<String, String>,
}

impl Places {
    /// Where a key is written, or, where it is missing, the nearest table around it.
    pub(super) fn of(&self, key: &str, origin: &Origin) -> Place {
        let variable = match origin {
            Origin::Environment(name) => Some(name),
            Origin::File | Origin::BuiltIn => self.variables.get(key),
        };
        match (variable, origin, &self.file) {
            (Some(name), ..) => Place::Environment(name.clone()),
            (None, Origin::File, Some(path)) => Place::File { path: path.clone(), line: self.line(key) },
            _ => Place::Nowhere,
        }
    }

    fn line(&self, key: &str) -> Option<usize> {
        let mut key = key;
        loop {
            if let Some(line) = self.lines.get(key) {
                return Some(*line);
            }
            key = key.rfind(['.', '[']).map(|end| &key[..end])?;
        }
    }
}

/// Collects problems while the configuration is read, so that all of them are told at once.
pub(super) struct Report {
    places: Places,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    literal_secrets: RefCell<Vec<String>>,
}

impl Report {
    /// Nothing wrong yet.
    pub(super) fn new(places: Places) -> Self {
        Self { places, problems: RefCell::default(), warnings: RefCell::default(), literal_secrets: RefCell::default() }
    }

    /// Records that something is wrong.
    pub(super) fn problem(&self, key: &str, origin: &Origin, message: impl Into<String>) -> Faulty {
        self.problems.borrow_mut().push(self.entry(key, origin, message.into()));
        Faulty
    }

    /// Records that something is doubtful.
    pub(super) fn warning(&self, key: &str, origin: &Origin, message: impl Into<String>) {
        self.warnings.borrow_mut().push(self.entry(key, origin, message.into()));
    }

    /// Notes a secret that stands in the file itself.
    pub(super) fn literal_secret(&self, key: &str) {
        self.literal_secrets.borrow_mut().push(key.to_owned());
    }

    /// The secrets that stand in the file itself.
    pub(super) fn literal_secrets(&self) -> Vec<String> {
        self.literal_secrets.borrow().clone()
    }

    fn entry(&self, key: &str, origin: &Origin, message: String) -> Problem {
        Problem { place: self.places.of(key, origin), key: key.to_owned(), message }
    }

    /// The value with its warnings, if nothing is wrong with it.
    pub(super) fn finish<T>(self, value: Result<T, Faulty>) -> Result<(T, Vec<Problem>, Places), ConfigErrors> {
        let (problems, warnings) = (self.problems.into_inner(), self.warnings.into_inner());
        match value {
            Ok(value) if problems.is_empty() => Ok((value, warnings, self.places)),
            _ => Err(ConfigErrors { problems, warnings }),
        }
    }
}
