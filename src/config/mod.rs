//! Configuration: as written (TOML, YAML or JSON, with the environment over it), and as validated.
//!
//! Everything behind this page takes [`Settings`], which hold no doubtful value any more. Whatever is wrong with what was
//! written is reported at once, each problem with its key.

pub mod secret;
pub mod settings;

pub use secret::Secret;
pub use settings::Settings;
