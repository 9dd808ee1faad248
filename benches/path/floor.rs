//! The floor: only what cannot be left out. Pages as they come from the wire have their heads parsed, their ids hashed and their events
//! compressed, checksummed and written with a sync; then one request body is built from them. No HTTP, no TLS, no journal, no driver.

use std::{borrow::Cow, fs, io::Write};

use miro_simulator::{SimConfig, Simulator, Stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

const PAGES: usize = 400;
const PAGE_EVENTS: usize = 500;
/// As the HEC sink compresses.
const GZIP_LEVEL: u32 = 1;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "createdAt")]
    created_at: Cow<'a, str>,
}

/// Whether the request body is compressed as well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Plain,
    Gzip,
}

/// Microseconds of CPU an event.
pub(crate) fn measure(form: Body) -> f64 {
    let pages = pages();
    let dir = tempfile::tempdir().expect("a directory");
    let mut file = fs::File::create(dir.path().join("segment")).expect("a file");
    let before = cpu_nanos();
    let mut check = 0_usize;
    for page in &pages {
        check += one(page, &mut file, form);
    }
    let spent = cpu_nanos() - before;
    assert_eq!(check, PAGES * PAGE_EVENTS, "every event went through");
    spent as f64 / 1e3 / (PAGES * PAGE_EVENTS) as f64
}

fn one(page: &[u8], file: &mut fs::File, form: Body) -> usize {
    let page: Page<'_> = serde_json::from_slice(page).expect("a page");
    let (mut record, mut body) = (Vec::with_capacity(600_000), Vec::with_capacity(700_000));
    let mut ids = Vec::with_capacity(page.data.len() * 16);
    for raw in &page.data {
        let head: Head<'_> = serde_json::from_str(raw.get()).expect("a head");
        let time = miro_siem::event::Timestamp::parse(&head.created_at).expect("a time");
        ids.extend_from_slice(&Sha256::digest(head.id.as_bytes())[..16]);
        record.extend_from_slice(raw.get().as_bytes());
        body.extend_from_slice(b"{\"time\":");
        body.extend_from_slice(time.as_micros().to_string().as_bytes());
        body.extend_from_slice(b",\"event\":");
        body.extend_from_slice(raw.get().as_bytes());
        body.extend_from_slice(b"}\n");
    }
    let compressed = zstd::bulk::compress(&record, 1).expect("zstd compresses");
    let sum = crc32fast::hash(&compressed);
    file.write_all(&sum.to_le_bytes())
        .and_then(|()| file.write_all(&ids))
        .and_then(|()| file.write_all(&compressed))
        .expect("the file is written");
    file.sync_data().expect("the file is synced");
    if form == Body::Gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::new(GZIP_LEVEL));
        body = encoder.write_all(&body).and_then(|()| encoder.finish()).expect("gzip compresses");
    }
    std::hint::black_box(&body);
    page.data.len()
}

/// Pages as the simulator serves them.
fn pages() -> Vec<Vec<u8>> {
    let config =
        SimConfig { days: 60, audit_events: (PAGES * PAGE_EVENTS) as u64, content_events: 0, ai_events: 0, ..SimConfig::default() };
    let (from, to) = (config.now - chrono::TimeDelta::days(90), config.now + chrono::TimeDelta::days(1));
    let simulator = Simulator::new(config);
    let events: Vec<Vec<u8>> = simulator.truth_iter(Stream::Audit, from, to).map(|event| event.raw).take(PAGES * PAGE_EVENTS).collect();
    events.chunks(PAGE_EVENTS).map(page).collect()
}

fn page(events: &[Vec<u8>]) -> Vec<u8> {
    let mut page = b"{\"type\":\"cursor-list\",\"limit\":500,\"size\":500,\"data\":[".to_vec();
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            page.push(b',');
        }
        page.extend_from_slice(event);
    }
    page.extend_from_slice(b"]}");
    page
}

/// CPU time of this thread.
fn cpu_nanos() -> u64 {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").expect("this kernel counts CPU time");
    schedstat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("a number")
}
