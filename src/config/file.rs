//! Reading the configuration file: TOML, YAML or JSON by its extension. Messages name lines, and never repeat one: it may hold a secret.

use std::{collections::BTreeMap, path::Path};

use config::{ConfigError, FileFormat, Map, Source as _, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problem::{Place, Places, Problem};

/// A configuration is written by hand; a larger file is the wrong file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a file holds, and where.
pub(super) struct Contents {
    pub(super) values: Map<String, Value>,
    pub(super) places: Places,
}

/// Reads and parses a file.
pub(super) fn read(path: &Path) -> Result<Contents, Vec<Problem>> {
    let failed = |message: String| vec![at(path, None, String::new(), message)];
    let size = std::fs::metadata(path).map_err(|error| failed(cannot_read(&error)))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed("is larger than 4 MiB: not a configuration".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(cannot_read(&error)))?;
    parse_named(path, &text)
}

/// Parses a text that is, or might be, in a file of that name.
pub(super) fn parse_named(path: &Path, text: &str) -> Result<Contents, Vec<Problem>> {
    let format = format_of(path).map_err(|message| vec![at(path, None, String::new(), message)])?;
    parse(path, text, format)
}

fn cannot_read(error: &std::io::Error) -> String {
    format!("cannot be read: {error}; check that the file exists and that the service's user may read it")
}

/// The format that a file's extension tells.
fn format_of(path: &Path) -> Result<FileFormat, String> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "toml" => Ok(FileFormat::Toml),
        "yaml" | "yml" => Ok(FileFormat::Yaml),
        "json" => Ok(FileFormat::Json),
        _ => Err("has no extension that tells its format; name it .toml, .yaml, .yml or .json".to_owned()),
    }
}

fn at(path: &Path, line: Option<usize>, key: String, message: String) -> Problem {
    Problem { place: Place::File { path: path.to_owned(), line }, key, message }
}

fn parse(path: &Path, text: &str, format: FileFormat) -> Result<Contents, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = if format == FileFormat::Toml { toml_lines(path, text)? } else { BTreeMap::new() };
    let values =
        config::File::from_str(text, format).collect().map_err(|error| vec![at(path, None, String::new(), parse_error(&error))])?;
    // The `config` crate would take brackets and dots in a key of the top for a path, and `[9999999999]` for that many elements.
    let odd: Vec<Problem> = values
        .keys()
        .filter(|key| !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'))
        .map(|key| at(path, lines.get(key).copied(), key.clone(), "unknown key".to_owned()))
        .collect();
    if !odd.is_empty() {
        return Err(odd);
    }
    Ok(Contents { values, places: Places { file: Some(path.to_owned()), lines, ..Places::default() } })
}

fn parse_error(error: &ConfigError) -> String {
    match error {
        ConfigError::FileParse { cause, .. } => format!("cannot be parsed: {cause}"),
        other => format!("cannot be parsed: {other}"),
    }
}

/// The line of every key of a TOML file, or what is wrong with its form.
fn toml_lines(path: &Path, text: &str) -> Result<BTreeMap<String, usize>, Vec<Problem>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let line = |error: &toml::de::Error| error.span().map(|span| line_of(text, span.start));
        let problem = |error: &toml::de::Error| at(path, line(error), String::new(), format!("is no valid TOML: {}", error.message()));
        return Err(errors.iter().map(problem).collect());
    }
    let mut walk = Walk { path, text, lines: BTreeMap::new(), problems: Vec::new() };
    walk.table("", root.get_ref());
    if walk.problems.is_empty() { Ok(walk.lines) } else { Err(walk.problems) }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Goes through a parsed file and notes where each key is.
struct Walk<'a> {
    path: &'a Path,
    text: &'a str,
    lines: BTreeMap<String, usize>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn table(&mut self, around: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = if around.is_empty() { name.get_ref().to_string() } else { format!("{around}.{}", name.get_ref()) };
            self.lines.insert(key.clone(), line_of(self.text, name.span().start));
            self.value(&key, value);
        }
    }

    fn value(&mut self, key: &str, value: &Spanned<DeValue<'_>>) {
        let line = line_of(self.text, value.span().start);
        match value.get_ref() {
            DeValue::Table(table) => self.table(key, table),
            DeValue::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    let key = format!("{key}[{index}]");
                    self.lines.insert(key.clone(), line_of(self.text, element.span().start));
                    self.value(&key, element);
                }
            }
            DeValue::Integer(number) if i64::from_str_radix(number.as_str(), number.radix()).is_err() => {
                self.problems.push(at(self.path, Some(line), key.to_owned(), "the number is too large; write it in quotes".to_owned()));
            }
            DeValue::Float(number) if number.as_str().parse::<f64>().is_ok_and(f64::is_infinite) => {
                self.problems.push(at(self.path, Some(line), key.to_owned(), "the number is too large".to_owned()));
            }
            _ => {}
        }
    }
}
