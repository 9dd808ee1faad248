use std::fs::{self, File};

use bytes::Bytes;

use super::{wire::Line, *};
use crate::event::{OrgName, Origin, Position, StreamKind};

fn letter(raw: &[u8]) -> DeadLetter {
    letter_of(&format!("2026-01-31T09:30:10.840687Z#{}", raw.escape_ascii()), raw)
}

fn letter_of(id: &str, raw: &[u8]) -> DeadLetter {
    let at = |millis| Timestamp::from_millis(millis);
    DeadLetter {
        sink: SinkName::new("splunk"),
        stream: StreamId::new(OrgName::new("acme"), StreamKind::Audit),
        event: Event {
            position: Position(7),
            id: EventId::new(id),
            time: Some(Timestamp::from_micros(1_769_851_810_840_687)),
            collected_at: at(1_769_851_811_000),
            origin: Origin::Late,
            raw: Bytes::copy_from_slice(raw),
        },
        reason: Reason::Rejected,
        answer: "code 6: invalid data format".to_owned(),
        attempts: 11,
        first_attempt_at: at(1_769_851_812_000),
        last_attempt_at: at(1_769_851_813_001),
    }
}

fn stored(dir: &Path) -> Vec<Result<DeadLetter, DeadLetterError>> {
    DeadLetters::read(dir, &SinkName::new("splunk")).expect("the file opens").collect()
}

fn open(dir: &Path, bytes_max: u64) -> DeadLetters {
    DeadLetters::open(dir, &SinkName::new("splunk"), bytes_max).expect("the store opens")
}

#[tokio::test]
async fn what_was_stored_is_read_back_to_the_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), DEAD_LETTER_BYTES_MAX);
    let raws: [&[u8]; 4] = [b"{\"a\":\"\\n\"}", "{\"u\":\"\u{2028}é\",\n \"n\":1e400}".as_bytes(), &[0xff, 0x00, b'\n'], b""];
    store.put(raws.iter().map(|raw| letter(raw)).collect()).await.expect("stored");
    drop(store);
    let letters: Vec<_> = stored(dir.path()).into_iter().map(|letter| letter.expect("a letter")).collect();
    assert_eq!(letters.iter().map(|letter| &letter.event.raw[..]).collect::<Vec<_>>(), raws);
    let (first, expected) = (&letters[0], letter(raws[0]));
    assert_eq!((&first.sink, &first.stream, first.reason), (&expected.sink, &expected.stream, expected.reason));
    assert_eq!((&first.event.id, first.event.time), (&expected.event.id, expected.event.time));
    assert_eq!((first.event.position, first.event.origin), (expected.event.position, expected.event.origin));
    assert_eq!((&first.answer, first.attempts), (&expected.answer, expected.attempts));
    assert_eq!((first.first_attempt_at, first.last_attempt_at), (expected.first_attempt_at, expected.last_attempt_at));
}

#[tokio::test]
async fn a_half_line_is_cut_off_at_any_byte_and_nothing_else_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("dead-letters/splunk").join(FILE_NAME);
    open(dir.path(), DEAD_LETTER_BYTES_MAX).put(vec![letter(b"1"), letter(b"2")]).await.expect("stored");
    let whole = fs::read(&path).expect("the file");
    let first = whole.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
    for cut in (0..whole.len()).step_by(7).chain([first, first - 1, whole.len() - 1]) {
        fs::write(&path, &whole[..cut]).expect("written");
        assert_eq!(stored(dir.path()).len(), usize::from(cut >= first), "a reader does not see a half line, cut at {cut}");
        open(dir.path(), DEAD_LETTER_BYTES_MAX).put(vec![letter(b"3")]).await.expect("stored");
        let raws: Vec<_> = stored(dir.path()).into_iter().map(|letter| letter.expect("a letter").event.raw).collect();
        let expected: &[&[u8]] = if cut >= first { &[b"1", b"3"] } else { &[b"3"] };
        assert_eq!(raws, expected, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_full_store_refuses_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 1_000);
    store.put(vec![letter(b"1")]).await.expect("there is room for one");
    let refused = store.put(vec![letter(b"2"), letter(b"3")]).await;
    assert!(matches!(refused, Err(DeadLetterError::Full { .. })), "{refused:?}");
    assert_eq!(stored(dir.path()).len(), 1);
}

#[test]
fn a_line_of_an_unknown_version_is_named_and_not_guessed() {
    let mut line = Vec::new();
    Line::of(&letter(b"1")).push(&mut line);
    let newer = String::from_utf8(line).expect("text").replace("\"v\":1", "\"v\":2");
    assert!(Line::parse(newer.as_bytes()).expect_err("refused").contains("version 2"));
}

#[test]
fn there_are_no_letters_where_there_is_no_store() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(stored(dir.path()).is_empty());
}

/// Version 1, as it was first written: later programs must read it.
#[test]
fn the_first_version_stays_readable() {
    let line = r#"{"v":1,"sink":"splunk","stream":"acme/audit","position":7,"id":"1","time":null,"collected_at":"2026-01-31T09:30:11Z","origin":"late","reason":"too_large","answer":"413","attempts":1,"first_attempt_at":"2026-01-31T09:30:12Z","last_attempt_at":"2026-01-31T09:30:12Z","raw":"{}"}"#;
    let letter = Line::parse(line.as_bytes()).expect("a letter");
    assert_eq!((letter.reason, &letter.event.raw[..]), (Reason::TooLarge, &b"{}"[..]));
    let mut written = Vec::new();
    Line::of(&letter).push(&mut written);
    assert_eq!(String::from_utf8(written).expect("text"), format!("{line}\n"));
}

#[tokio::test]
async fn a_file_that_is_moved_away_or_emptied_by_hand_loses_no_later_letter() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), DEAD_LETTER_BYTES_MAX);
    let path = directory(dir.path(), &SinkName::new("splunk")).join(FILE_NAME);
    store.put(vec![letter(b"1")]).await.expect("stored");
    fs::rename(&path, path.with_extension("old")).expect("moved away");
    store.put(vec![letter(b"2")]).await.expect("stored after the move");
    assert_eq!(raws(dir.path()), [b"2"]);
    File::options().write(true).truncate(true).open(&path).expect("emptied");
    store.put(vec![letter(b"3")]).await.expect("stored after the emptying");
    assert_eq!(raws(dir.path()), [b"3"], "no hole in front of it");
}

fn raws(dir: &Path) -> Vec<Vec<u8>> {
    stored(dir).into_iter().map(|letter| letter.expect("a letter").event.raw.to_vec()).collect()
}

fn key(letter: &DeadLetter) -> [LetterKey; 1] {
    [letter.key()]
}

const NOW: Timestamp = Timestamp::from_millis(1_769_851_900_000);

#[tokio::test]
async fn a_letter_of_the_same_event_takes_the_place_of_the_earlier_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), DEAD_LETTER_BYTES_MAX);
    store.put(vec![letter_of("a", b"1"), letter_of("b", b"2")]).await.expect("stored");
    store.put_again(vec![DeadLetter { attempts: 12, ..letter_of("a", b"1") }]).await.expect("stored");
    let letters: Vec<_> = stored(dir.path()).into_iter().map(|letter| letter.expect("a letter")).collect();
    let shown: Vec<_> = letters.iter().map(|letter| (letter.event.id.as_str(), letter.attempts)).collect();
    assert_eq!(shown, [("b", 11), ("a", 12)]);
}

#[tokio::test]
async fn a_letter_that_is_gone_stays_gone_and_can_come_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), DEAD_LETTER_BYTES_MAX);
    store.put(vec![letter(b"1"), letter(b"2")]).await.expect("stored");
    store.remove(&key(&letter(b"1")), Gone::Settled, NOW).await.expect("removed");
    store.remove(&key(&letter(b"9")), Gone::Dropped, NOW).await.expect("what is not there does no harm");
    assert_eq!(raws(dir.path()), [b"2"]);
    drop(store);
    let store = open(dir.path(), DEAD_LETTER_BYTES_MAX);
    assert_eq!(raws(dir.path()), [b"2"]);
    store.put(vec![letter(b"1")]).await.expect("stored");
    assert_eq!(raws(dir.path()), [b"2", b"1"]);
}

#[tokio::test]
async fn a_full_store_has_room_again_when_letters_have_left_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 800);
    store.put(vec![letter(b"1"), letter(b"2")]).await.expect("there is room for two");
    assert!(matches!(store.put(vec![letter(b"3")]).await, Err(DeadLetterError::Full { .. })));
    assert!(store.room().is_nearly_full());
    store.remove(&key(&letter(b"1")), Gone::Settled, NOW).await.expect("removed, though there is no room for the line that says so");
    store.put(vec![letter(b"3")]).await.expect("the first one's room is free");
    assert_eq!(raws(dir.path()), [b"2", b"3"]);
    assert!(fs::read_dir(dir.path().join("dead-letters/splunk")).expect("the directory").count() == 1, "nothing is left beside the file");
}

#[tokio::test]
async fn a_file_is_written_anew_when_most_of_it_is_gone_and_keeps_what_it_cannot_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), DEAD_LETTER_BYTES_MAX);
    let path = dir.path().join("dead-letters/splunk").join(FILE_NAME);
    let all: Vec<_> = (0..400).map(|n| letter(format!("{n}").as_bytes())).collect();
    store.put(all.clone()).await.expect("stored");
    let odd = "no letter at all\n";
    fs::write(&path, fs::read_to_string(&path).expect("text") + odd).expect("damaged");
    drop(store);
    let store = open(dir.path(), DEAD_LETTER_BYTES_MAX);
    let before = store.room().bytes;
    let snapshot = store.letters().expect("opened");
    for some in all[..390].chunks(50) {
        let keys: Vec<_> = some.iter().map(DeadLetter::key).collect();
        store.remove(&keys, Gone::Dropped, NOW).await.expect("removed");
    }
    assert!(store.room().bytes < before / 2, "{} of {before}", store.room().bytes);
    assert_eq!(fs::metadata(&path).expect("a file").len(), store.room().bytes);
    assert!(fs::read_to_string(&path).expect("text").contains(odd));
    let (whole, broken): (Vec<_>, Vec<_>) = stored(dir.path()).into_iter().partition(Result::is_ok);
    assert_eq!((whole.len(), broken.len()), (10, 1));
    assert_eq!(snapshot.filter(Result::is_ok).count(), 400, "who reads already sees what there was");
    store.put(vec![letter(b"new")]).await.expect("stored");
    assert_eq!(stored(dir.path()).len(), 12);
}

#[test]
fn a_line_that_says_that_a_letter_is_gone_stays_readable() {
    let line = r#"{"v":2,"gone":"dropped","stream":"acme/audit","id":"1","at":"2026-01-31T09:31:40Z"}"#;
    let head = wire::Head::parse(line.as_bytes()).expect("a head");
    assert_eq!((head.key.id.as_str(), head.gone), ("1", Some(Gone::Dropped)));
    let mut written = Vec::new();
    wire::push_gone(&head.key, Gone::Dropped, NOW, &mut written);
    assert_eq!(String::from_utf8(written).expect("text"), format!("{line}\n"));
}
