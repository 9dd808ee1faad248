//! Reading a sink's letters, without touching them.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    DeadLetter, DeadLetterError, FILE_NAME, LINE_BYTES_MAX, SinkName, directory, failed,
    index::{Index, Place},
    wire::Line,
};

/// A sink's dead letters as they were at one moment, oldest first. What happens to the store meanwhile does not change them.
#[derive(Debug)]
pub struct Letters {
    file: Option<File>,
    places: std::vec::IntoIter<Place>,
    path: PathBuf,
}

impl Letters {
    pub(super) fn open(state_dir: &Path, sink: &SinkName) -> Result<Self, DeadLetterError> {
        Self::of(directory(state_dir, sink).join(FILE_NAME))
    }

    pub(super) fn of(path: PathBuf) -> Result<Self, DeadLetterError> {
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { file: None, places: Vec::new().into_iter(), path }),
            Err(source) => return Err(failed("open", &path, source)),
        };
        let index = Index::of(BufReader::with_capacity(1 << 16, &mut file)).map_err(|source| failed("read", &path, source))?;
        Ok(Self { file: Some(file), places: index.places().into_iter(), path })
    }

    fn corrupt(&self, place: &Place, problem: String) -> DeadLetterError {
        DeadLetterError::Corrupt { path: self.path.display().to_string(), line: place.number, problem }
    }

    fn letter(&mut self, place: &Place) -> Result<DeadLetter, DeadLetterError> {
        if place.bytes > LINE_BYTES_MAX {
            return Err(self.corrupt(place, format!("it has more than {LINE_BYTES_MAX} bytes")));
        }
        let mut text = vec![0; usize::try_from(place.bytes).unwrap_or(usize::MAX)];
        if let Some(file) = &mut self.file {
            let read = file.seek(SeekFrom::Start(place.offset)).and_then(|_| file.read_exact(&mut text));
            read.map_err(|source| failed("read", &self.path, source))?;
        }
        Line::parse(text.strip_suffix(b"\n").unwrap_or(&text)).map_err(|problem| self.corrupt(place, problem))
    }
}

impl Iterator for Letters {
    type Item = Result<DeadLetter, DeadLetterError>;

    fn next(&mut self) -> Option<Self::Item> {
        let place = self.places.next()?;
        Some(self.letter(&place))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}
