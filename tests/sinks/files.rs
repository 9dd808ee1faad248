//! The file sink on a real file system.

use std::{
    fs,
    path::{Path, PathBuf},
};

use miro_siem::{
    config::settings::{Compression, FileSettings},
    event::{Event, OrgName, StreamId, StreamKind, Timestamp},
    sink::{Batch, ErrorClass, Receipt, Sink, SinkError, file::FileSink},
};

use crate::support::{audit, began_at, event};

fn settings(dir: &Path, name: &str) -> FileSettings {
    let path = dir.join(name).to_string_lossy().into_owned();
    FileSettings { path, size_bytes_max: None, compression: Compression::None, mode: 0o640 }
}

fn sink(settings: &FileSettings) -> FileSink {
    FileSink::new(settings).expect("the path is good")
}

async fn deliver_to(sink: &FileSink, stream: &StreamId, events: &[Event]) -> Result<Receipt, SinkError> {
    let (mut payloads, mut ends) = (Vec::new(), Vec::new());
    for event in events {
        payloads.extend_from_slice(&event.raw);
        ends.push(payloads.len());
    }
    sink.deliver(Batch::new(stream, events, &payloads, &ends)).await
}

async fn deliver(sink: &FileSink, positions: impl IntoIterator<Item = u64>) -> Result<Receipt, SinkError> {
    let events: Vec<_> = positions.into_iter().map(|position| event(position, began_at())).collect();
    deliver_to(sink, &audit(), &events).await
}

fn lines(positions: impl IntoIterator<Item = u64>) -> String {
    positions.into_iter().map(|position| format!("{{\"id\":\"id-{position}\",\"event\":\"board_opened\"}}\n")).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn unpack(path: &Path) -> String {
    let bytes = zstd::stream::decode_all(fs::File::open(path).expect("the file")).expect("whole frames");
    String::from_utf8(bytes).expect("text")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).expect("the directory").map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn events_go_to_the_file_of_their_own_day_in_utc() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = sink(&settings(dir.path(), "new/{org}/{stream}-%Y-%m-%d.ndjson"));
    let at = |position, text: &str| Event { time: Some(Timestamp::parse(text).expect("a time")), ..event(position, began_at()) };
    let events = [
        at(1, "2026-01-31T23:59:59.999Z"),
        at(2, "2026-02-01T00:00:00Z"),
        at(3, "2026-02-01T01:00:00+02:00"),
        Event { time: None, ..event(4, Timestamp::parse("2026-03-01T00:00:00Z").expect("a time")) },
    ];
    assert_eq!(deliver_to(&sink, &audit(), &events).await, Ok(Receipt::All));
    let content = StreamId::new(OrgName::new("../../evil"), StreamKind::Content);
    assert_eq!(deliver_to(&sink, &content, &events[..1]).await, Ok(Receipt::All));
    let org = dir.path().join("new/acme");
    assert_eq!(read(&org.join("audit-2026-01-31.ndjson")), lines([1, 3]));
    assert_eq!(read(&org.join("audit-2026-02-01.ndjson")), lines([2]));
    assert_eq!(read(&org.join("audit-2026-03-01.ndjson")), lines([4]));
    assert_eq!(names(&dir.path().join("new")), ["%2E.%2F..%2Fevil", "acme"]);
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(org.join("audit-2026-01-31.ndjson")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777 & !0o640, 0, "no more than was asked for: {mode:o}");
    assert_eq!(sink.close().await, Ok(()));
}

#[tokio::test]
async fn a_record_with_line_breaks_is_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = sink(&settings(dir.path(), "x"));
    let pretty = Event { raw: "{\r\n \"a\": 1\n}".into(), ..event(1, began_at()) };
    assert_eq!(deliver_to(&sink, &audit(), &[pretty, event(2, began_at())]).await, Ok(Receipt::All));
    assert_eq!(read(&dir.path().join("x")), format!("{{   \"a\": 1 }}\n{}", lines([2])));
}

#[tokio::test]
async fn a_file_that_has_reached_its_size_is_left_alone() {
    for (compression, name, files) in [
        (Compression::None, "audit.ndjson", ["audit.1.ndjson", "audit.2.ndjson", "audit.ndjson"]),
        (Compression::Zstd, "audit.ndjson", ["audit.1.ndjson.zst", "audit.2.ndjson.zst", "audit.ndjson.zst"]),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = FileSettings { size_bytes_max: Some(60), compression, ..settings(dir.path(), name) };
        for batch in [[1, 2], [3, 4], [5, 6]] {
            // A new sink each time: where to go on is found from the files themselves.
            assert_eq!(deliver(&sink(&settings), batch).await, Ok(Receipt::All));
        }
        assert_eq!(names(dir.path()), files);
        let content =
            |name: &str| if compression == Compression::Zstd { unpack(&dir.path().join(name)) } else { read(&dir.path().join(name)) };
        assert_eq!([2, 0, 1].map(|index: usize| content(files[index])), [lines([1, 2]), lines([3, 4]), lines([5, 6])]);
    }
}

#[tokio::test]
async fn one_sink_fills_file_after_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = sink(&FileSettings { size_bytes_max: Some(100), ..settings(dir.path(), "x.ndjson") });
    for position in 1..=10 {
        assert_eq!(deliver(&sink, [position]).await, Ok(Receipt::All));
    }
    assert_eq!(names(dir.path()), ["x.1.ndjson", "x.2.ndjson", "x.3.ndjson", "x.ndjson"]);
    assert_eq!(read(&dir.path().join("x.3.ndjson")), lines([10]));
}

#[tokio::test]
async fn a_torn_end_is_cut_off_before_the_file_grows() {
    for compression in [Compression::None, Compression::Zstd] {
        let whole = {
            let dir = tempfile::tempdir().expect("a directory");
            let settings = FileSettings { compression, ..settings(dir.path(), "x.zst") };
            assert_eq!(deliver(&sink(&settings), 1..=3).await, Ok(Receipt::All));
            fs::read(dir.path().join("x.zst")).expect("the file")
        };
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.zst");
        let settings = FileSettings { compression, ..settings(dir.path(), "x.zst") };
        for cut in 1..whole.len() {
            fs::write(&path, [&whole[..], &whole[..cut]].concat()).expect("written");
            assert_eq!(deliver(&sink(&settings), [9]).await, Ok(Receipt::All));
            let content = if compression == Compression::Zstd { unpack(&path) } else { read(&path) };
            let kept =
                content.strip_prefix(&lines(1..=3)).and_then(|rest| rest.strip_suffix(&lines([9]))).expect("what was acked is there");
            assert!(lines(1..=3).starts_with(kept), "cut at {cut}: only whole lines are kept");
            assert!(compression == Compression::None || kept.is_empty());
        }
    }
}

#[tokio::test]
async fn each_batch_is_a_frame_of_its_own_and_the_file_can_be_read_at_any_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = sink(&FileSettings { compression: Compression::Zstd, ..settings(dir.path(), "x.ndjson") });
    for round in 0..5_u64 {
        assert_eq!(deliver(&sink, round * 100..round * 100 + 100).await, Ok(Receipt::All));
        assert_eq!(unpack(&dir.path().join("x.ndjson.zst")), lines(0..round * 100 + 100));
    }
}

#[tokio::test]
async fn a_file_that_was_renamed_removed_or_cut_is_opened_afresh() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("x");
    let sink = sink(&settings(dir.path(), "x"));
    deliver(&sink, [1]).await.expect("delivered");
    fs::rename(&path, dir.path().join("x.old")).expect("renamed");
    deliver(&sink, [2]).await.expect("delivered");
    assert_eq!((read(&dir.path().join("x.old")), read(&path)), (lines([1]), lines([2])));
    fs::remove_file(&path).expect("removed");
    deliver(&sink, [3]).await.expect("delivered");
    assert_eq!(read(&path), lines([3]));
    fs::File::options().write(true).open(&path).expect("opened").set_len(0).expect("cut, as copytruncate does");
    deliver(&sink, [4]).await.expect("delivered");
    assert_eq!(read(&path), lines([4]), "no hole of zeros");
    fs::remove_dir_all(dir.path()).expect("removed");
    deliver(&sink, [5]).await.expect("delivered");
    assert_eq!(read(&path), lines([5]));
}

#[tokio::test]
async fn many_files_at_once_are_not_many_open_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = sink(&settings(dir.path(), "%H-%M.ndjson"));
    let events: Vec<_> = (0..500)
        .map(|index| Event {
            time: Some(Timestamp::from_millis(i64::try_from(index).expect("small") * 60_000)),
            ..event(index, began_at())
        })
        .collect();
    assert_eq!(deliver_to(&sink, &audit(), &events).await, Ok(Receipt::All));
    assert_eq!(names(dir.path()).len(), 500);
    let ours = |link: PathBuf| fs::read_link(link).is_ok_and(|target| target.starts_with(dir.path()));
    let open = fs::read_dir("/proc/self/fd").expect("a list").filter(|fd| fd.as_ref().is_ok_and(|fd| ours(fd.path()))).count();
    assert!(open <= 32, "{open} files are open");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_a_fault_of_the_configuration() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), "").expect("written");
    fs::create_dir(dir.path().join("folder")).expect("created");
    for name in ["file/x.ndjson", "folder"] {
        let error = deliver(&sink(&settings(dir.path(), name)), [1]).await.expect_err("refused");
        assert_eq!(error.class(), ErrorClass::Config, "{error}");
        assert!(error.to_string().contains("choose another path"), "{error}");
    }
    let error = sink(&settings(dir.path(), "file/x.ndjson")).probe().await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Config, "{error}");
    assert_eq!(sink(&settings(dir.path(), "new/{stream}")).probe().await, Ok(()));
    assert_eq!(names(&dir.path().join("new")), [""; 0], "a probe leaves no file");
}

/// /dev/full answers every write with ENOSPC.
#[tokio::test]
async fn a_full_disk_is_retried_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink("/dev/full", dir.path().join("x")).expect("a link");
    let error = deliver(&sink(&settings(dir.path(), "x")), [1]).await.expect_err("refused");
    assert!(matches!(error.class(), ErrorClass::Retryable | ErrorClass::Ambiguous), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
}

#[tokio::test]
async fn what_is_written_before_another_file_fails_stays_delivered() {
    use miro_siem::sink::Verdict::{Accepted, NotTaken};
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("2026-02-01")).expect("created");
    let sink = sink(&settings(dir.path(), "%F"));
    let at = |position, text: &str| Event { time: Some(Timestamp::parse(text).expect("a time")), ..event(position, began_at()) };
    let events =
        [at(1, "2026-01-31T00:00:00Z"), at(2, "2026-02-01T00:00:00Z"), at(3, "2026-01-31T00:00:00Z"), at(4, "2026-02-02T00:00:00Z")];
    assert_eq!(deliver_to(&sink, &audit(), &events).await, Ok(Receipt::Each(vec![Accepted, NotTaken, Accepted, NotTaken])));
    assert_eq!(read(&dir.path().join("2026-01-31")), lines([1, 3]));
}
