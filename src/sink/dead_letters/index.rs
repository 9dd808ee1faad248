//! Which lines of a file are about letters that are still there.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufRead, Read},
};

use super::{LINE_BYTES_MAX, LetterKey, wire::Head};

/// A line: where it begins, how long it is with its end, and its number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) number: u64,
}

/// The places of the newest lines, by what they are about.
#[derive(Debug, Default)]
pub(super) struct Index {
    letters: HashMap<u128, Place>,
    /// Lines that cannot be read. They are kept and told.
    odd: Vec<Place>,
    bytes: u64,
    lines: u64,
}

impl Index {
    /// Of a whole file. What follows its last line end is left alone.
    pub(super) fn of(mut reader: impl BufRead) -> io::Result<Self> {
        let (mut index, mut line) = (Self::default(), Vec::new());
        loop {
            line.clear();
            let mut bytes = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
            if bytes == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
                line.clear();
                bytes += reader.skip_until(b'\n')? as u64;
            } else if line.pop() != Some(b'\n') {
                return Ok(index);
            }
            index.push(&line, bytes);
        }
    }

    /// Takes the next line in, without its end.
    fn push(&mut self, line: &[u8], bytes: u64) {
        self.lines += 1;
        let place = Place { offset: self.bytes, bytes, number: self.lines };
        self.bytes += bytes;
        match Head::parse(line) {
            Ok(Head { key, gone: None }) => drop(self.letters.insert(hash(&key), place)),
            Ok(Head { key, gone: Some(_) }) => drop(self.letters.remove(&hash(&key))),
            Err(_) => self.odd.push(place),
        }
    }

    /// Takes lines in that were added to the file.
    pub(super) fn extend(&mut self, lines: &[u8]) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.push(line.strip_suffix(b"\n").unwrap_or(line), line.len() as u64);
        }
    }

    /// The lines that count, in the order of the file.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.letters.values().chain(&self.odd).copied().collect();
        places.sort_unstable_by_key(|place| place.offset);
        places
    }

    /// Bytes of the lines that count.
    pub(super) fn live_bytes(&self) -> u64 {
        self.letters.values().chain(&self.odd).map(|place| place.bytes).sum()
    }
}

/// 128 bits: that two letters of one sink share them does not happen by chance.
fn hash(key: &LetterKey) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, key).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
