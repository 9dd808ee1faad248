//! Files.

use std::{collections::BTreeMap, fs, path::PathBuf};

use miro_siem::sink::Built;

use crate::subject::{Behaviour, Cannot, Subject, from_configuration};

const NO_RECEIVER: Cannot =
    "a file system takes what is written, or the whole sink waits: it answers nothing about events, amounts or waits";
const CUT_OFF: Cannot = "a write to a file that does not end well is cut off again: nothing of it can have arrived";

struct FileSubject {
    dir: tempfile::TempDir,
}

pub(crate) async fn start() -> Box<dyn Subject> {
    Box::new(FileSubject { dir: tempfile::tempdir().expect("a directory") })
}

impl FileSubject {
    fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }
}

impl Subject for FileSubject {
    fn build(&self) -> Built {
        from_configuration(&format!("type = \"file\"\npath = \"{}/{{stream}}.ndjson\"", self.archive().display()))
    }

    fn order(&self, behaviour: &Behaviour) -> Result<(), Cannot> {
        match behaviour {
            Behaviour::Well if self.archive().is_file() => fs::remove_file(self.archive()).expect("removed"),
            Behaviour::Well => {}
            // Where the directory should be is something else, which a person has to put right.
            Behaviour::RefusesCredentials => fs::write(self.archive(), "").expect("written"),
            Behaviour::LosesAnswer => return Err(CUT_OFF),
            _ => return Err(NO_RECEIVER),
        }
        Ok(())
    }

    fn arrived(&self) -> BTreeMap<String, u32> {
        lines(&fs::read_to_string(self.archive().join("audit.ndjson")).unwrap_or_default())
    }

    fn refusal_class(&self) -> &'static str {
        "config"
    }
}

/// How often each id is in a text of whole lines; a half line at its end is none yet.
pub(super) fn lines(text: &str) -> BTreeMap<String, u32> {
    let mut seen = BTreeMap::new();
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let record: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        *seen.entry(record["id"].as_str().expect("an id").to_owned()).or_default() += 1;
    }
    seen
}
