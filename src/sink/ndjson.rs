//! One record, one line: for every sink whose records are lines.

use super::Batch;

/// Adds a record and a line end. White space between a JSON record's members may be a line break; each such byte becomes a space, which
/// leaves the value and every other byte as they are. It is the only place where a `raw` record differs from what Miro sent.
pub(crate) fn push_line(record: &[u8], out: &mut Vec<u8>) {
    push_flat(record, out);
    out.push(b'\n');
}

/// The same without the line end.
pub(crate) fn push_flat(record: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(record);
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', &out[at..]) {
        out[at + found] = b' ';
        at += found + 1;
    }
}

/// All records of a batch as lines.
pub(crate) fn lines(batch: Batch<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.bytes() + batch.len());
    for (_, record) in batch.iter() {
        push_line(record, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(record: &str, line: &str) {
        let mut out = b"before\n".to_vec();
        push_line(record.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("before\n{line}\n"));
    }

    #[test]
    fn a_record_is_one_line_whatever_white_space_it_has() {
        check(r#"{"a":"\n"}"#, r#"{"a":"\n"}"#);
        check("{\r\n\"a\": 1\n\n}\n", "{  \"a\": 1  } ");
        check("", "");
        check("{\"u\":\"\u{2028}\u{85}\"}", "{\"u\":\"\u{2028}\u{85}\"}");
    }
}
