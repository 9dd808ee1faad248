//! The journal on disk, tried from outside: ordinary use, damage, crashes, full disks, against a plain model.

mod basics;
mod model;
mod support;
