//! Which jobs there are: those that run, and the last ones that did.

use std::{collections::VecDeque, sync::Arc};

use super::{job::Job, record::Record};
use crate::admin::control::ControlError;

/// So many jobs that are not over at once; who asks for more waits for one of them.
const UNFINISHED_MAX: usize = 64;
/// So many jobs that are over are remembered.
const FINISHED_MAX: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Book {
    jobs: VecDeque<Arc<Job>>,
}

impl Book {
    pub(super) fn add(&mut self, job: Arc<Job>) {
        self.jobs.push_back(job);
        let over = self.jobs.iter().filter(|job| job.is_over()).count();
        let mut too_many = over.saturating_sub(FINISHED_MAX);
        self.jobs.retain(|job| {
            let is_forgotten = too_many > 0 && job.is_over();
            too_many -= usize::from(is_forgotten);
            !is_forgotten
        });
    }

    /// Whether so many more can be taken on.
    pub(super) fn has_room(&self, more: usize) -> Result<(), ControlError> {
        let running = self.jobs.iter().filter(|job| !job.is_over()).count();
        if running + more <= UNFINISHED_MAX {
            return Ok(());
        }
        Err(ControlError::Conflict(format!(
            "{running} retries and replays are under way, and {UNFINISHED_MAX} is the limit; wait for one, or cancel it"
        )))
    }

    /// Every job, oldest first.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.jobs.iter()
    }

    /// What is to be durable of them.
    pub(super) fn records(&self) -> Vec<Record> {
        self.jobs.iter().filter_map(|job| job.record()).collect()
    }
}
