//! Configuration: as written (TOML, YAML or JSON, with the environment over it), and as validated.
//!
//! Everything behind this page takes [`Settings`], which hold no doubtful value any more. Whatever is wrong with what was
//! written is reported at once, each problem with its key, and with the file's line or the variable's name.
//!
//! # How it goes
//!
//! ```text
//! file ──► layer ─┐                ┌► keys, each declared once ─► Settings
//!                 ├► merged ► nodes┤
//! env ───► layer ─┘                └► whatever does not fit ────► ConfigErrors
//! ```
//!
//! The `config` crate parses the formats and merges the layers; what the values mean is decided here, because a problem has to name
//! its key, its place and the mend. A key is declared once (`general`, `org`, `sinks`), with type, default, limit and meaning; the
//! reader, docs/configuration.md and config/default.toml are made from that.
//!
//! # What it does not do
//!
//! It opens no connection and writes nothing. Loading does not read the secrets and certificates that the configuration names;
//! [`verify`] does, for the `check` command. It keeps no state: a crash loses nothing.

pub mod expression;
pub mod pointer;
pub mod secret;
pub mod settings;

mod address;
mod compare;
mod environment;
mod file;
mod general;
mod key;
mod load;
mod name;
mod node;
mod org;
mod problem;
pub mod reference;
mod rules;
mod scalar;
pub mod schema;
mod secret_value;
mod sinks;
mod table;
mod unsupported;
mod value;
mod verify;

pub use environment::Environment;
pub use load::{DEFAULT_PATH, Loaded, Source, TOKEN_VARIABLE, load, load_text};
pub use problem::{ConfigErrors, Place, Problem};
pub use scalar::age;
pub use secret::Secret;
pub use settings::Settings;
pub use verify::{Findings, verify};
