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

/// Opening recovers, and recovering writes: files of another user than the daemon's would be in its way at the next start.
fn may_open(dir: &Path) -> anyhow::Result<()> {
    let owner = match fs::metadata(dir) {
        Ok(meta) => meta.uid(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("{} does not exist: nothing was ever collected with this configuration (state.dir)", dir.display())
        }
        Err(error) => return Err(error).with_context(|| format!("failed to look at {}", dir.display())),
    };
    // The kernel's word for whom this process acts as; where there is no /proc, the directory's own permissions have to do.
    let own = fs::metadata("/proc/self").map_or(owner, |meta| meta.uid());
    if own != owner {
        bail!("{} belongs to another user (uid {owner}); run this command as that user, or start the daemon and ask it", dir.display());
    }
    Ok(())
}
