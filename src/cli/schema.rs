//! `miro-siem schema`: the JSON Schema of the configuration, for editors.

use anyhow::Context;

use super::{Exit, fail, print};
use crate::config::schema;

pub(super) fn run() -> Exit {
    match serde_json::to_vec_pretty(&schema::schema()).context("failed to print the schema") {
        Ok(mut text) => {
            text.push(b'\n');
            print(&text)
        }
        Err(error) => fail(&error),
    }
}
