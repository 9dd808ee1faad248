//! `type = "file"`

use chrono::format::{Item, StrftimeItems};

use super::{Connects, SinkType};
use crate::config::{
    key::{Defaulted, Key, Optional, Required},
    problem::Faulty,
    scalar::ByteSize,
    settings::{Compression, FileSettings, Provenance, SinkKindSettings},
    table::Table,
    value::{FromText, Unfit},
};

const PATH: Key<Template, Required> = Key::required(
    "path",
    "\"/var/log/miro/{stream}-%Y-%m-%d.ndjson\"",
    "Where the records go, one per line. `{org}` and `{stream}` stand for their names, `%Y-%m-%d` and so on \
     for the event's own time in UTC.",
);
const SIZE_MAX: Key<ByteSize, Optional> =
    Key::optional("size_max", "\"1GiB\"", "a file has no limit", "A file of this size is closed, and the next one gets a number.")
        .limited("at least 1KiB", |size| size.0 >= 1 << 10);
const COMPRESSION: Key<Compression, Defaulted> = Key::defaulted("compression", "none", "How files are compressed: none or zstd.")
    .limited("\"none\" or \"zstd\"", |compression| matches!(compression, Compression::None | Compression::Zstd));
const MODE: Key<Mode, Defaulted> = Key::defaulted("mode", "0640", "The permissions of new files, octal.");

pub(super) const TYPE: SinkType = SinkType {
    name: "file",
    doc: "Files of one JSON record per line. An event counts as delivered when its file is synced to the disk.",
    keys: &[&PATH, &SIZE_MAX, &COMPRESSION, &MODE],
    connects: Connects::No,
    provenance: Provenance::On,
    read,
};

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (path, size_max) = (table.take(&PATH), table.take(&SIZE_MAX));
    let (compression, mode) = (table.take(&COMPRESSION), table.take(&MODE));
    Ok(SinkKindSettings::File(FileSettings {
        path: path?.0,
        size_bytes_max: size_max?.map(|size| size.0),
        compression: compression?,
        mode: mode?.0,
    }))
}

/// A path with places to fill.
struct Template(String);

impl FromText for Template {
    const MEANT: &'static str = "a path, with {org}, {stream} and the event's date as %Y-%m-%d where they are wanted";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let bare = text.replace("{org}", "").replace("{stream}", "");
        if text.is_empty() || text.ends_with('/') || text.chars().any(char::is_control) {
            return Err(Unfit::Plainly);
        }
        if text.starts_with('~') {
            return Err(Unfit::Because("`~` is the shell's and is not expanded here; write the whole path".to_owned()));
        }
        if bare.contains(['{', '}']) {
            return Err(Unfit::Because("only {org} and {stream} can stand in braces".to_owned()));
        }
        if StrftimeItems::new(text).any(|item| matches!(item, Item::Error)) {
            return Err(Unfit::Because("a `%` in it is followed by no specifier of strftime; write a plain one as `%%`".to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Permissions of a file.
struct Mode(u32);

impl FromText for Mode {
    const MEANT: &'static str = "permissions in octal, as text: \"0640\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let octal = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(octal, 8) {
            Ok(mode) if mode <= 0o777 && octal.bytes().all(|byte| byte.is_ascii_digit()) => writable(mode),
            _ => Err(Unfit::Plainly),
        }
    }
}

fn writable(mode: u32) -> Result<Mode, Unfit> {
    if mode & 0o600 == 0o600 {
        Ok(Mode(mode))
    } else {
        Err(Unfit::Because("the service itself could not read and write the file".to_owned()))
    }
}
