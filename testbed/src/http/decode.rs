//! Content encodings of request bodies.

use std::io::{self, Read};

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use super::{Head, Limits, Refusal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    /// `deflate`, which on the web is the zlib format (RFC 9110 section 8.4.1.2).
    Deflate,
}

/// The encoding a request names, or none.
pub(super) fn encoding_of(head: &Head, limits: &Limits) -> Result<Option<Encoding>, Refusal> {
    let named = match head.header("content-encoding").map(|name| name.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => return Ok(None),
        Some("gzip" | "x-gzip") => Encoding::Gzip,
        Some("deflate") => Encoding::Deflate,
        Some(_) => return Err(Refusal::UnknownEncoding),
    };
    if limits.encodings.contains(&named) { Ok(Some(named)) } else { Err(Refusal::UnknownEncoding) }
}

/// Decompresses `sent` into `plain`, whose capacity is used again.
pub(super) fn unpack(encoding: Encoding, sent: &[u8], plain: &mut Vec<u8>, bytes_max: usize) -> Result<(), Refusal> {
    plain.clear();
    // One byte more than allowed shows that there is more than allowed.
    let limit = bytes_max as u64 + 1;
    let read: io::Result<usize> = match encoding {
        Encoding::Gzip => MultiGzDecoder::new(sent).take(limit).read_to_end(plain),
        Encoding::Deflate => ZlibDecoder::new(sent).take(limit).read_to_end(plain),
    };
    match read {
        Err(_) => Err(Refusal::Undecodable),
        Ok(_) if plain.len() > bytes_max => Err(Refusal::TooLargeUnpacked),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).expect("gzip into memory");
        encoder.finish().expect("gzip into memory")
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_a_cut_body_is_undecodable() {
        let sent = gzip(&vec![b'x'; 100_000]);
        let mut plain = Vec::new();
        assert_eq!(unpack(Encoding::Gzip, &sent, &mut plain, 100_000), Ok(()));
        assert_eq!(plain.len(), 100_000);
        assert_eq!(unpack(Encoding::Gzip, &sent, &mut plain, 99_999), Err(Refusal::TooLargeUnpacked));
        assert_eq!(unpack(Encoding::Gzip, &sent[..sent.len() - 9], &mut plain, 100_000), Err(Refusal::Undecodable));
        assert_eq!(unpack(Encoding::Gzip, b"plain", &mut plain, 100_000), Err(Refusal::Undecodable));
        let two = [gzip(b"a"), gzip(b"b")].concat();
        assert_eq!(unpack(Encoding::Gzip, &two, &mut plain, 10), Ok(()));
        assert_eq!(plain, b"ab", "members one after the other are one body (RFC 1952 section 2.2)");
    }
}
