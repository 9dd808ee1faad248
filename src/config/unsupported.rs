//! What the configuration's design foresees and this version does not do yet. Taking such a key and doing nothing would be a lie,
//! and calling it unknown another: it is refused by name. To switch something on, take it out of here and declare it.

/// Values of a sink's `type`.
pub(super) const SINK_TYPES: &[&str] = &["kafka"];

/// Streams.
pub(super) const STREAMS: &[&str] = &["licenses"];

/// Keys of any sink.
pub(super) const SINK_KEYS: &[&str] = &["licenses_stream"];

/// Says so.
pub(super) fn message(what: &str, name: &str) -> String {
    format!("{what} {name:?} is not supported by this version yet")
}
