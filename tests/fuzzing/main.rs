//! The harness of the fuzz targets without a fuzzer: the same functions, on what this program writes, on its mutations, and on noise.
//!
//! `MIRO_SIEM_FUZZ_SECS` makes each target run for that long; `scripts/test fuzz` uses it where cargo-fuzz cannot be had.
#![allow(clippy::print_stdout, reason = "a test says how much it has tried")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use miro_siem::fuzzing;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// Long enough to find what is broken everywhere, short enough for every run of the tests.
const SECS: f64 = 2.0;
const NOISE_BYTES_MAX: usize = 600;

fn duration() -> Duration {
    let secs = std::env::var("MIRO_SIEM_FUZZ_SECS").ok().map(|secs| secs.parse().expect("MIRO_SIEM_FUZZ_SECS is a number of seconds"));
    Duration::from_secs_f64(secs.unwrap_or(SECS))
}

/// Golden files, for the targets that read whole files.
fn golden(dir: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("lists").path();
        if path.is_dir() {
            golden(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "seg") {
            found.push(fs::read(path).expect("reads"));
        }
    }
}

fn mutate(rng: &mut StdRng, input: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=input.len());
        match rng.random_range(0..6) {
            0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            1 if at < input.len() => input[at] = rng.random(),
            2 => input.truncate(at),
            3 => input.insert(at, rng.random()),
            4 if at + 4 <= input.len() => {
                let number = [0, 1, u32::MAX, 1 << 31, rng.random()][rng.random_range(0..5)];
                input[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
            _ => {
                let end = rng.random_range(at..=input.len());
                let copy = input[at..end.min(at + 64)].to_vec();
                input.splice(at..at, copy);
            }
        }
    }
}

fn run(name: &str, target: fn(&[u8]), more: Vec<Vec<u8>>) {
    let mut seeds = fuzzing::seeds(name);
    seeds.extend(more);
    assert!(!seeds.is_empty(), "there is something to begin with");
    seeds.iter().for_each(|seed| target(seed));
    let (began, seed) = (Instant::now(), rand::random::<u64>());
    println!("{name}: {} seeds, random numbers from {seed}", seeds.len());
    let mut rng = StdRng::seed_from_u64(seed);
    let mut tried = 0_u64;
    while began.elapsed() < duration() {
        let mut input = if rng.random_ratio(1, 4) {
            let mut noise = vec![0; rng.random_range(0..NOISE_BYTES_MAX)];
            rng.fill_bytes(&mut noise);
            noise
        } else {
            seeds[rng.random_range(0..seeds.len())].clone()
        };
        mutate(&mut rng, &mut input);
        target(&input);
        tried += 1;
    }
    println!("{name}: {tried} inputs");
    assert!(tried > 100, "only {tried} inputs in {:?}", duration());
}

#[test]
fn no_answer_of_miro_breaks_the_page_decoder() {
    run("page", fuzzing::page, Vec::new());
}

#[test]
fn no_bytes_break_the_reading_of_records_and_segments() {
    let mut segments = Vec::new();
    golden(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")), &mut segments);
    assert!(!segments.is_empty(), "there are golden segments");
    run("record", fuzzing::record, segments);
}

#[test]
fn no_bytes_break_the_reading_of_other_stored_things() {
    run("state", fuzzing::state, Vec::new());
}

/// The seeds as files, for cargo-fuzz.
#[test]
fn the_corpus_can_be_written() {
    let Some(dir) = std::env::var_os("MIRO_SIEM_FUZZ_CORPUS") else {
        println!("not written: MIRO_SIEM_FUZZ_CORPUS names no directory");
        return;
    };
    for name in ["page", "record", "state"] {
        let dir = Path::new(&dir).join(name);
        fs::create_dir_all(&dir).expect("creates");
        let mut seeds = fuzzing::seeds(name);
        if name == "record" {
            golden(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")), &mut seeds);
        }
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(dir.join(format!("seed-{number}")), seed).expect("writes");
        }
    }
}
