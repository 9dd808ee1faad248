//! The `miro-siem` program: everything is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    miro_siem::cli::main()
}
