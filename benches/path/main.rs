//! What the whole path costs, beside the floor that no program of this kind can go below.
//!
//! The simulator and the receiver are processes of their own (this program again, in another role), so that the figures are the
//! daemon's alone. Nothing is asserted: the figures and their ratios are printed.

#![allow(clippy::print_stdout, reason = "figures are what a bench is for")]

mod daemon;
mod floor;
mod roles;

use std::{process::ExitCode, time::Duration};

use daemon::{Daemon, Receiver};
use roles::Role;

/// Events of the simulated organisation in the runs of the whole path.
const EVENTS: u64 = 1_000_000;
const BACKLOGS: [u64; 2] = [10_000, 1_000_000];
/// What the figures are compared with.
const AIM_MICROS_PER_EVENT: f64 = 8.0;
const AIM_FLOOR_RATIO: f64 = 2.0;
const AIM_PEAK_MB: f64 = 40.0;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("--role") {
        return roles::play(&args.next().unwrap_or_default(), &args.next().unwrap_or_default());
    }
    println!(
        "bench path: whole path against the floor, {EVENTS} events of about 880 bytes, quota off, simulator and receiver out of process\n"
    );
    let (plain, gzip) = (floor::measure(floor::Body::Plain), floor::measure(floor::Body::Gzip));
    println!("floor (parse heads, ids, compress, checksum, write, build the body): {plain:.2} us of CPU an event, {gzip:.2} us with gzip");
    let miro = Role::start("miro", &EVENTS.to_string());
    for (name, compression, floor) in [("HEC without gzip", "none", plain), ("HEC with gzip", "gzip", gzip)] {
        whole_path(name, compression, &miro, floor);
    }
    drop(miro);
    for backlog in BACKLOGS {
        peak_memory(backlog);
    }
    start_up();
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_miro-siem")).map_or(0, |file| file.len());
    println!("binary: {:.1} MB", size as f64 / 1e6);
    ExitCode::SUCCESS
}

fn whole_path(name: &str, compression: &str, miro: &Role, floor: f64) {
    let hec = Role::start("hec", "0");
    let daemon = Daemon::start(miro, &Receiver { url: hec.url(), compression });
    let secs = daemon.wait_for(|| hec.events() >= EVENTS, Duration::from_secs(600)).as_secs_f64();
    let micros = daemon.cpu().as_secs_f64() * 1e6 / EVENTS as f64;
    println!(
        "{name:<18} {:>9.0} events/s  {micros:>6.2} us of CPU an event ({:.2} x floor; aim {AIM_FLOOR_RATIO:.1} x, {AIM_MICROS_PER_EVENT:.0} us)  peak {:.1} MB",
        EVENTS as f64 / secs,
        micros / floor,
        daemon.peak_mb()
    );
}

fn peak_memory(backlog: u64) {
    let miro = Role::start("miro", &backlog.to_string());
    let hec = Role::start("hec", "0");
    // Nobody listens there: the journal takes everything.
    let closed = daemon::closed_port();
    let daemon = Daemon::start(&miro, &Receiver { url: format!("http://127.0.0.1:{closed}"), compression: "none" });
    daemon.wait_for(|| daemon.backlog() >= backlog, Duration::from_secs(600));
    let collected = daemon.peak_mb();
    let restarted = daemon.restart(&Receiver { url: hec.url(), compression: "none" });
    restarted.wait_for(|| hec.events() >= backlog, Duration::from_secs(600));
    println!(
        "peak memory with a backlog of {backlog:>9} events: {collected:.1} MB while it grows, {:.1} MB from a restart until it is delivered (aim {AIM_PEAK_MB:.0} MB)",
        restarted.peak_mb()
    );
}

fn start_up() {
    let miro = Role::start("miro", "1000");
    let hec = Role::start("hec", "0");
    let times: Vec<f64> = (0..5)
        .map(|_| Daemon::start(&miro, &Receiver { url: hec.url(), compression: "none" }).answered_after.as_secs_f64() * 1e3)
        .collect();
    let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
    let slowest = times.iter().copied().fold(0.0, f64::max);
    println!("start-up until /healthz answers: {fastest:.0} to {slowest:.0} ms over {} runs", times.len());
}
