//! What a record costs: each format, plain and with filters and redaction in front of it, over what the simulator's organisation writes.
//!
//! One thread, everything in memory; allocations are counted by the allocator itself. Nothing is asserted: the figures are printed.

#![allow(clippy::print_stdout, reason = "figures are what a bench is for")]

mod mix;

use std::{
    alloc::System,
    fmt,
    hint::black_box,
    time::{Duration, Instant},
};

use miro_siem::{
    config::{
        Secret,
        expression::Expression,
        pointer::Pointer,
        settings::{FilterSettings, Format, Provenance, RedactPreset, RedactRules, RedactSettings},
    },
    event::Event,
    transform::{Redaction, Transform, TransformSettings, Transformed},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use mix::Mix;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const FORMATS: [(Format, &str); 5] =
    [(Format::Raw, "raw"), (Format::Ocsf, "ocsf"), (Format::Ecs, "ecs"), (Format::Cef, "cef"), (Format::Leef, "leef")];
/// Long enough that a round more or less does not matter.
const MEASURED_FOR: Duration = Duration::from_secs(1);

/// What stands in front of a format.
struct Setup {
    name: &'static str,
    filter: FilterSettings,
    redaction: Redaction,
}

fn main() {
    let mix = Mix::of_a_day();
    println!("bench encode: {mix}, one thread\n");
    println!("{:<6} {:<24} {:>10} {:>9} {:>13} {:>13}", "format", "in front of it", "events/s", "us/event", "allocs/event", "bytes/record");
    for (format, name) in FORMATS {
        for setup in setups() {
            println!("{name:<6} {:<24} {}", setup.name, measure(&mix, format, &setup));
        }
    }
}

fn setups() -> Vec<Setup> {
    let names = || FilterSettings { exclude_events: vec!["sign_out_*".to_owned()], ..FilterSettings::default() };
    let cel = Expression::parse("stream != 'audit' || event.event != 'sign_out_succeeded'").expect("an expression");
    let rules = |rules: RedactRules| Redaction::of(&RedactSettings::Rules(rules)).expect("a usable key");
    let key = || Some(Secret::literal("a key of at least 16 bytes"));
    let redacting = |name, redaction| Setup { name, filter: FilterSettings::default(), redaction };
    vec![
        redacting("nothing", Redaction::none()),
        Setup { name: "names", filter: names(), redaction: Redaction::none() },
        Setup { name: "cel", filter: FilterSettings { cel: Some(cel), ..FilterSettings::default() }, redaction: Redaction::none() },
        redacting("two pointers", rules(RedactRules { mask: pointers(&["/createdBy/email", "/context/ip"]), ..RedactRules::default() })),
        redacting(
            "personal_data, hashed",
            rules(RedactRules { presets: vec![RedactPreset::PersonalData], key: key(), ..RedactRules::default() }),
        ),
        Setup {
            name: "names, every preset",
            filter: names(),
            redaction: rules(RedactRules { presets: RedactPreset::ALL.to_vec(), key: key(), ..RedactRules::default() }),
        },
    ]
}

fn pointers(texts: &[&str]) -> Vec<Pointer> {
    texts.iter().map(|text| Pointer::parse(text).expect("a pointer")).collect()
}

/// Of one measurement.
struct Figures {
    events: u64,
    taken: Duration,
    allocations: usize,
    records: u64,
    bytes: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (events, secs) = (self.events as f64, self.taken.as_secs_f64());
        let size = self.bytes as f64 / self.records.max(1) as f64;
        write!(f, "{:>10.0} {:>9.2} {:>13.1} {size:>13.0}", events / secs, secs * 1e6 / events, self.allocations as f64 / events)
    }
}

fn measure(mix: &Mix, format: Format, setup: &Setup) -> Figures {
    let settings = TransformSettings {
        filter: setup.filter.clone(),
        redaction: setup.redaction.clone(),
        ..TransformSettings::whole(format, Provenance::On)
    };
    let mut lanes: Vec<_> = mix.streams().map(|(stream, events)| (Transform::new(&settings, stream), events)).collect();
    let mut out = Vec::with_capacity(4 << 20);
    // Once without counting, so that buffers have their size.
    round(&mut lanes, &mut out);
    let (region, started) = (Region::new(ALLOCATOR), Instant::now());
    let mut figures = Figures { events: 0, taken: Duration::ZERO, allocations: 0, records: 0, bytes: 0 };
    while started.elapsed() < MEASURED_FOR {
        let (records, bytes) = round(&mut lanes, &mut out);
        figures.events += mix.len();
        figures.records += records;
        figures.bytes += bytes;
    }
    let change = region.change();
    figures.taken = started.elapsed();
    figures.allocations = change.allocations + change.reallocations;
    figures
}

/// Writes every record once, and returns how many there are and their size.
fn round(lanes: &mut [(Transform, &[Event])], out: &mut Vec<u8>) -> (u64, u64) {
    let (mut records, mut bytes) = (0, 0);
    for (transform, events) in lanes {
        for event in *events {
            out.clear();
            if let Transformed::Written(written) = transform.apply(event, out) {
                black_box(written);
                records += 1;
                bytes += out.len() as u64;
            }
            black_box(&out);
        }
    }
    (records, bytes)
}
