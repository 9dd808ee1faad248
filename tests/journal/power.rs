//! Power loss, as far as a machine without a plug can show it: the journal writes to an ext4 file system inside an image file; the
//! writer is killed, the image is copied at once, without what only the kernel's memory had, and the copy is mounted and looked at.
//!
//! Needs root, `mkfs.ext4` and loop devices. `MIRO_SIEM_LOOP_TESTS=1` asks for it, and then it fails where it cannot run.

use std::{path::Path, process::Command, time::Duration};

use crate::crash::{Reported, Writer, become_writer, verify};

const ROUNDS: u32 = 10;

/// A mounted image; unmounted when it goes.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(image: &Path, at: &'a Path) -> Self {
        std::fs::create_dir_all(at).expect("creates");
        run("mount", &["-o", "loop", &text(image), &text(at)]);
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily, should something still look at it: the directory goes away anyway.
        let _ = Command::new("umount").args(["-l", &text(self.0)]).status();
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| {
        panic!("the power loss test needs {program}, which does not start: {error}; unset MIRO_SIEM_LOOP_TESTS where that is not to be had")
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the power loss test needs root and loop devices: {program} {args:?}: {errors}; unset MIRO_SIEM_LOOP_TESTS where those are not to be had"
    );
}

#[test]
fn a_power_cut_loses_nothing_that_was_reported() {
    become_writer();
    if std::env::var_os("MIRO_SIEM_LOOP_TESTS").is_none() {
        println!("not run: the power loss test; it needs root and loop devices, and MIRO_SIEM_LOOP_TESTS=1 asks for it");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for round in 0..ROUNDS {
        let (image, copy) = (dir.path().join("image"), dir.path().join("copy"));
        let file = std::fs::File::create(&image).expect("creates");
        file.set_len(192 << 20).expect("sets the size");
        run("mkfs.ext4", &["-q", "-F", &text(&image)]);
        let mut reported = Reported::default();
        let at = dir.path().join("mnt");
        {
            let mounted = Mounted::new(&image, &at);
            let writer = Writer::start("power::a_power_cut_loses_nothing_that_was_reported", &mounted.0.join("state"));
            writer.kill_after(Duration::from_millis(rand::random_range(50..900)), &mut reported);
            run("cp", &["--sparse=always", &text(&image), &text(&copy)]);
        }
        {
            let mounted = Mounted::new(&copy, &at);
            runtime.block_on(verify(&mounted.0.join("state"), &reported));
        }
        println!("power cut {}: {reported:?}, all there", round + 1);
    }
}
