//! Placeholder while the library comes first.
fn main() {}
