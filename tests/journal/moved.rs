//! A state directory is moved: another path, another user, and it goes on without loss or repeats.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use miro_siem::{
    event::Position,
    journal::{CoverageChange, Journal, disk::DiskJournal},
};

use crate::support::{
    assert_counted, audit, begin, copy_dir, counted, event, ids, minutes, options, page, read_all, sink, tallies, tuning,
};

/// Names the state directory to the process that finds it as another user.
const CHILD: &str = "MIRO_SIEM_TEST_MOVED_DIR";
/// `nobody` on every Linux.
const NOBODY: u32 = 65_534;
const PAGES: i64 = 30;

fn page_ids(pages: std::ops::Range<i64>) -> impl Iterator<Item = (String, i64)> {
    pages.flat_map(|number| (0..5).map(move |n| (format!("{number}-{n}"), number)))
}

fn events(number: i64) -> Vec<miro_siem::event::RawEvent> {
    page_ids(number..number + 1).map(|(id, at)| event(&id, at)).collect()
}

fn open(dir: &Path) -> DiskJournal {
    DiskJournal::open_tuned(options(dir), tuning(2_000)).expect("opens")
}

async fn write(dir: &Path) {
    let journal = open(dir);
    journal.subscribe(vec![(sink("one"), audit())]).await.expect("subscribes");
    journal.commit(begin(&audit())).await.expect("begins");
    for number in 0..PAGES {
        let range = CoverageChange::Add(minutes(number, number + 1));
        journal.commit(page(&audit(), events(number), range)).await.expect("commits");
    }
    journal.put_state("key", vec![7]).await.expect("stores");
    journal.ack(&sink("one"), &audit(), Position(40)).await.expect("acks");
    journal.close().await.expect("closes");
}

/// All is there, nothing is taken twice, and it goes on.
async fn go_on(dir: &Path) {
    let journal = open(dir);
    assert_eq!(journal.acked(&sink("one"), &audit()), Some(Position(40)));
    assert_eq!(journal.state("key"), Some(vec![7]));
    let expected: Vec<String> = page_ids(0..PAGES).map(|(id, _)| id).skip(40).collect();
    assert_eq!(ids(&read_all(&journal, &audit(), 40, 7).await), expected);
    assert_eq!(journal.coverage(&audit()).map(|held| held.ranges().to_vec()), Some(vec![minutes(0, PAGES)]));
    for number in 0..PAGES {
        let again = journal.commit(page(&audit(), events(number), CoverageChange::None)).await.expect("commits");
        assert!(!again.fresh.contains(&true), "page {number} is known");
    }
    let range = CoverageChange::Add(minutes(PAGES, PAGES + 1));
    let committed = journal.commit(page(&audit(), events(PAGES), range)).await.expect("commits");
    assert_eq!((committed.fresh, committed.head), (vec![true; 5], Position(PAGES as u64 * 5 + 5)));
    assert_counted(&tallies(&journal, &audit()).await, &counted(page_ids(0..PAGES + 1)));
    assert_eq!(journal.stats().quarantined_records, 0);
    assert_eq!(fs::read_dir(dir.join("quarantine")).expect("lists").count(), 0, "nothing was set aside");
    journal.close().await.expect("closes");
}

fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).expect("root may");
    if path.is_dir() {
        fs::read_dir(path).expect("lists").for_each(|entry| give(&entry.expect("lists").path(), user));
    }
}

#[test]
fn a_state_that_is_moved_to_another_path_and_user_goes_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some(dir) = std::env::var_os(CHILD) {
        return runtime.block_on(go_on(&PathBuf::from(dir)));
    }
    let root = tempfile::tempdir().expect("a directory");
    let (first, moved) = (root.path().join("var/lib/first"), root.path().join("srv/somewhere/else"));
    fs::create_dir_all(first.parent().expect("a parent")).expect("creates");
    runtime.block_on(write(&first));
    copy_dir(&first, &moved);
    let again = root.path().join("again");
    copy_dir(&first, &again);
    fs::remove_dir_all(&first).expect("removes");
    runtime.block_on(go_on(&again));
    if fs::metadata("/proc/self").expect("Linux").uid() != 0 {
        println!("not run: the state of another user; only root can give files away");
        return;
    }
    // The other user has to reach this program too.
    let program = root.path().join("program");
    fs::copy(std::env::current_exe().expect("known"), &program).expect("copies");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("sets");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("sets");
    give(&moved, NOBODY);
    let mut command = Command::new(&program);
    command.args(["moved::a_state_that_is_moved_to_another_path_and_user_goes_on", "--exact", "--nocapture"]).env(CHILD, &moved);
    let output = command.current_dir("/").uid(NOBODY).gid(NOBODY).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
