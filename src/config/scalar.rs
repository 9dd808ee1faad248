//! Values that are one word or number: texts, paths, numbers, durations, sizes, times, and words of closed sets.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    settings::{Compression, Format, Start},
    table::nearest,
    unsupported,
    value::{FromText, Unfit},
};
use crate::event::{StreamKind, Timestamp};

/// Longer than anything that belongs in a configuration, and short enough for every header.
const TEXT_BYTES_MAX: usize = 1024;
/// A century: later arithmetic cannot overflow.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl FromText for String {
    const MEANT: &'static str = "a text";
    const SHOWN: bool = false;

    fn from_text(text: &str) -> Result<Self, Unfit> {
        if text.is_empty() {
            Err(Unfit::Plainly)
        } else if text.len() > TEXT_BYTES_MAX {
            Err(Unfit::Because(format!("it is longer than {TEXT_BYTES_MAX} bytes")))
        } else if text.chars().any(char::is_control) {
            Err(Unfit::Because("it holds a line break or another control character".to_owned()))
        } else {
            Ok(text.to_owned())
        }
    }
}

impl FromText for PathBuf {
    const MEANT: &'static str = "a path";
    const SHOWN: bool = false;

    fn from_text(text: &str) -> Result<Self, Unfit> {
        if text.is_empty() || text.contains('\0') {
            return Err(Unfit::Plainly);
        }
        if text.starts_with('~') {
            return Err(Unfit::Because("`~` is the shell's and is not expanded here; write the whole path".to_owned()));
        }
        Ok(Self::from(text))
    }
}

impl FromText for u32 {
    const MEANT: &'static str = "a whole number";
    const TEXT: bool = false;

    fn from_text(text: &str) -> Result<Self, Unfit> {
        text.parse().map_err(|_| Unfit::Plainly)
    }

    fn from_integer(number: i128) -> Option<Result<Self, Unfit>> {
        Some(Self::try_from(number).map_err(|_| Unfit::Plainly))
    }
}

impl FromText for usize {
    const MEANT: &'static str = "a whole number";
    const TEXT: bool = false;

    fn from_text(text: &str) -> Result<Self, Unfit> {
        text.parse().map_err(|_| Unfit::Plainly)
    }

    fn from_integer(number: i128) -> Option<Result<Self, Unfit>> {
        Some(Self::try_from(number).map_err(|_| Unfit::Plainly))
    }
}

impl FromText for Duration {
    const MEANT: &'static str = "a duration such as \"500ms\", \"30s\", \"5m\", \"1h30m\" or \"90d\"";
    const SHORT: &'static str = "a duration";
    const PATTERN: Option<&'static str> = Some(r"^\s*([0-9]+\s*(ms|s|m|h|d|w)\s*)+$");

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let mut total = Self::ZERO;
        let mut rest = text;
        if text.is_empty() {
            return Err(Unfit::Plainly);
        }
        if rest.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Unfit::Because("it has no unit".to_owned()));
        }
        while !rest.is_empty() {
            let (number, unit, after) = number_and_unit(rest).ok_or(Unfit::Plainly)?;
            let part = in_unit(number, unit).ok_or(Unfit::Plainly)?;
            total = total.checked_add(part).filter(|total| *total <= DURATION_MAX).ok_or_else(too_large)?;
            rest = after;
        }
        Ok(total)
    }

    fn from_integer(_: i128) -> Option<Result<Self, Unfit>> {
        Some(Err(Unfit::Because("it has no unit; write it as text with one".to_owned())))
    }
}

/// A duration as the configuration spells it, such as `24h`; for what is typed elsewhere.
pub fn age(text: &str) -> Option<Duration> {
    Duration::from_text(text.trim()).ok()
}

fn too_large() -> Unfit {
    Unfit::Because("it is too large".to_owned())
}

/// The number and the unit that a text begins with, and what follows them.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let after = text[digits..].trim_start();
    let unit = after.len() - after.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()).len();
    Some((text[..digits].parse().ok()?, &after[..unit], after[unit..].trim_start()))
}

fn in_unit(number: u64, unit: &str) -> Option<Duration> {
    let secs = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    // Saturated, it is refused as too large.
    Some(Duration::from_secs(number.saturating_mul(secs)))
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ByteSize(pub(super) u64);

impl FromText for ByteSize {
    const MEANT: &'static str = "a size such as \"10GiB\", \"512MB\" or \"1048576\"";
    const SHORT: &'static str = "a size";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let (number, unit, after) = number_and_unit(text).ok_or(Unfit::Plainly)?;
        let scale: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            "k" | "m" | "g" | "t" => return Err(Unfit::Because(format!("write {number}{unit}B or {number}{unit}iB"))),
            _ => return Err(Unfit::Plainly),
        };
        if !after.is_empty() {
            return Err(Unfit::Plainly);
        }
        number.checked_mul(scale).map(Self).ok_or_else(too_large)
    }

    fn from_integer(number: i128) -> Option<Result<Self, Unfit>> {
        Some(u64::try_from(number).map(Self).map_err(|_| Unfit::Plainly))
    }
}

/// `"off"` or an address to listen on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listen(pub(super) Option<SocketAddr>);

impl FromText for Listen {
    const MEANT: &'static str = "an IP address with a port such as \"127.0.0.1:9494\" or \"[::]:9494\", or \"off\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        if text == "off" {
            return Ok(Self(None));
        }
        let numeric = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        numeric.parse().map(|address| Self(Some(address))).map_err(|_| Unfit::Plainly)
    }
}

/// `"off"` or the path of a unix socket.
#[derive(Clone, Debug)]
pub(super) struct SocketPath(pub(super) Option<PathBuf>);

/// What `sun_path` of unix(7) holds, without the zero at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl SocketPath {
    /// Why no socket can be at that path; `None` where one can.
    pub(super) fn too_long(path: &Path) -> Option<String> {
        let bytes = path.as_os_str().len();
        (bytes > SOCKET_PATH_BYTES_MAX).then(|| {
            format!("it has {bytes} bytes, and the system takes at most {SOCKET_PATH_BYTES_MAX} for a socket; choose a shorter one")
        })
    }
}

impl FromText for SocketPath {
    const MEANT: &'static str = "the path of a unix socket, or \"off\"";
    const SHORT: &'static str = "a path, or \"off\"";
    const SHOWN: bool = false;

    fn from_text(text: &str) -> Result<Self, Unfit> {
        if text == "off" {
            return Ok(Self(None));
        }
        let path = PathBuf::from_text(text)?;
        Self::too_long(&path).map_or(Ok(Self(Some(path))), |why| Err(Unfit::Because(why)))
    }
}

/// The name of a host as a browser's address bar has it, without a port.
#[derive(Clone, Debug)]
pub(super) struct HostName(pub(super) String);

impl FromText for HostName {
    const MEANT: &'static str = "a host's name such as \"siem.example.com\" or its IP address, without a scheme and a port";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let is_address = bare.parse::<std::net::IpAddr>().is_ok();
        let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if is_address || is_name { Ok(Self(bare.trim_end_matches('.').to_ascii_lowercase())) } else { Err(Unfit::Plainly) }
    }
}

/// `"off"` or an interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heartbeat(pub(super) Option<Duration>);

impl FromText for Heartbeat {
    const MEANT: &'static str = "a duration such as \"5m\", or \"off\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        if text == "off" { Ok(Self(None)) } else { Duration::from_text(text).map(|every| Self(Some(every))) }
    }

    fn from_integer(number: i128) -> Option<Result<Self, Unfit>> {
        <Duration as FromText>::from_integer(number).map(|read| read.map(|every| Self(Some(every))))
    }
}

impl FromText for Start {
    const MEANT: &'static str = "\"now\", an age such as \"24h\" or \"90d\", or a time such as \"2026-01-31T00:00:00Z\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        if text == "now" {
            return Ok(Self::Now);
        }
        match (Duration::from_text(text), Timestamp::parse(text)) {
            (Ok(age), _) => Ok(Self::Ago(age)),
            (_, Ok(time)) => Ok(Self::At(time)),
            _ if looks_like_a_date(text) => Err(Unfit::Because("a time needs its clock and an offset, such as Z".to_owned())),
            _ => Err(Unfit::Plainly),
        }
    }
}

fn looks_like_a_date(text: &str) -> bool {
    text.len() >= 10 && text.bytes().zip(*b"0000-00-00").all(|(byte, shape)| byte == shape || shape == b'0' && byte.is_ascii_digit())
}

/// A word out of a closed set.
fn word<T>(text: &str, known: &[(&str, T)]) -> Result<T, Unfit>
where
    T: Copy,
{
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    Err(nearest(text, &names).map_or(Unfit::Plainly, |meant| Unfit::Because(format!("did you mean {meant:?}?"))))
}

impl FromText for StreamKind {
    const MEANT: &'static str = "\"audit\", \"content\" or \"ai\"";
    const WORDS: &'static [&'static str] = &["audit", "content", "ai"];

    fn from_text(text: &str) -> Result<Self, Unfit> {
        if unsupported::STREAMS.contains(&text) {
            return Err(Unfit::Instead(unsupported::message("the stream", text)));
        }
        if text == Self::Forwarder.as_str() {
            return Err(Unfit::Instead("is no stream to choose here; set forwarder_events = true for miro-siem's own events".to_owned()));
        }
        word(text, &[("audit", Self::Audit), ("content", Self::Content), ("ai", Self::Ai)])
    }
}

impl FromText for Format {
    const MEANT: &'static str = "\"raw\", \"ocsf\", \"ecs\", \"cef\" or \"leef\"";
    const WORDS: &'static [&'static str] = &["raw", "ocsf", "ecs", "cef", "leef"];

    fn from_text(text: &str) -> Result<Self, Unfit> {
        word(text, &[("raw", Self::Raw), ("ocsf", Self::Ocsf), ("ecs", Self::Ecs), ("cef", Self::Cef), ("leef", Self::Leef)])
    }
}

impl FromText for Compression {
    const MEANT: &'static str = "the name of a compression";
    const WORDS: &'static [&'static str] = &["none", "gzip", "zstd"];

    fn from_text(text: &str) -> Result<Self, Unfit> {
        word(text, &[("none", Self::None), ("gzip", Self::Gzip), ("zstd", Self::Zstd)])
    }
}
