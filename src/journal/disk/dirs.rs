//! Directories by organisation and stream, for what is kept of each stream in files of its own.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::storage::Storage;
use crate::event::StreamId;

/// What is in a directory; nothing where there is none.
pub(super) fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

/// The directories of all streams below a directory.
pub(super) fn streams_in(dir: &Path) -> io::Result<Vec<(StreamId, PathBuf)>> {
    let mut found = Vec::new();
    for org in entries(dir)?.into_iter().filter(|path| path.is_dir()) {
        for kind in entries(&org)? {
            let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if let Some(stream) = StreamId::parse(&format!("{}/{}", unescaped(&name(&org)), name(&kind))) {
                found.push((stream, kind));
            }
        }
    }
    Ok(found)
}

/// The directory of one stream below a directory.
pub(super) fn stream_dir(dir: &Path, stream: &StreamId) -> PathBuf {
    dir.join(escaped(stream.org.as_str())).join(stream.kind.as_str())
}

/// Creates a directory somewhere below `root`, durably.
pub(super) fn create_below(storage: &dyn Storage, root: &Path, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    dir.ancestors().skip(1).take_while(|dir| dir.starts_with(root)).try_for_each(|dir| storage.sync_dir(dir))
}

/// A name of the operator's choice as the name of a directory.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

fn unescaped(name: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), name.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_organisations_survive_as_directories() {
        for name in ["acme", "a/b: %c", "..", "ünïcode"] {
            assert_eq!(unescaped(&escaped(name)), name);
            assert!(!escaped(name).contains(['/', '.']), "{}", escaped(name));
        }
    }
}
