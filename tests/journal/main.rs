//! The journal on disk, tried from outside: ordinary use, damage, crashes, full disks, against a plain model.
#![allow(clippy::print_stdout, reason = "a test says what it did, and what it could not do on this machine")]

mod basics;
mod crash;
mod damage;
mod faults;
mod golden;
mod model;
mod moved;
mod power;
mod support;
mod tallies;
