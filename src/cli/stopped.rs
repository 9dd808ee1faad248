//! The state of a daemon that does not run, opened in its place.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use anyhow::{Context, bail};

use crate::{
    config::Settings,
    journal::{DiskJournal, Journal},
    pipeline,
};

/// Does something with the journal, and lets go of it.
pub(super) async fn with_journal<T>(settings: &Settings, act: impl FnOnce(&dyn Journal) -> T) -> anyhow::Result<T> {
    let dir = &settings.state.dir;
    may_open(dir)?;
    let options = pipeline::journal_options(settings);
    let journal = tokio::task::spawn_blocking(move || DiskJournal::open(options)).await.context("failed to open the state directory")?;
    let journal = journal.context("failed to open the state directory")?;
    let done = act(&journal);
    journal.close().await.context("failed to close the state directory")?;
    Ok(done)
}

fn may_open(dir: &Path) -> anyhow::Result<()> {
    if owner(dir)?.is_none() {
        bail!("{} does not exist: nothing was ever collected with this configuration (state.dir)", dir.display());
    }
    may_write(dir)
}

/// Opening recovers, and recovering writes: files of another user than the daemon's would be in its way at the next start. A directory that is
/// not there yet becomes this user's.
pub(super) fn may_write(dir: &Path) -> anyhow::Result<()> {
    let Some(owner) = owner(dir)? else { return Ok(()) };
    // The kernel's word for whom this process acts as; where there is no /proc, the directory's own permissions have to do.
    let own = fs::metadata("/proc/self").map_or(owner, |meta| meta.uid());
    if own != owner {
        bail!("{} belongs to another user (uid {owner}); run this command as that user, or start the daemon and ask it", dir.display());
    }
    Ok(())
}

/// Whose directory it is; `None` where it is not there.
fn owner(dir: &Path) -> anyhow::Result<Option<u32>> {
    match fs::metadata(dir) {
        Ok(meta) => Ok(Some(meta.uid())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to look at {}", dir.display())),
    }
}
