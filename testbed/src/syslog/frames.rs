//! Octet counting: `MSG-LEN SP SYSLOG-MSG`, where MSG-LEN is a number without leading zeros.

use bytes::{Buf as _, Bytes, BytesMut};

/// Digits of a count; a longer one is no count.
const DIGITS_MAX: usize = 10;

/// Takes the next message out of `buf`; none when it has not arrived whole.
///
/// # Errors
/// What is wrong with the frame. The connection cannot go on, since nobody knows where the next frame begins.
pub(super) fn next(buf: &mut BytesMut, message_bytes_max: usize) -> Result<Option<Bytes>, String> {
    let digits = buf.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > DIGITS_MAX {
        return Err("a frame's count is too long".to_owned());
    }
    match (buf.first(), buf.get(digits)) {
        (None, _) => return Ok(None),
        (Some(b'0'), _) => return Err("a frame's count begins with a zero".to_owned()),
        (Some(byte), _) if digits == 0 => {
            return Err(format!("a frame begins with byte {byte}, not with a count"));
        }
        (Some(_), None) => return Ok(None),
        (Some(_), Some(b' ')) => {}
        (Some(_), Some(byte)) => {
            return Err(format!("a frame's count ends with byte {byte}, not with a space"));
        }
    }
    let text = String::from_utf8_lossy(&buf[..digits]);
    let length: usize = text.parse().map_err(|_| format!("a frame's count is {text}"))?;
    if length > message_bytes_max {
        return Err(format!("a message has {length} bytes, more than {message_bytes_max}"));
    }
    if buf.len() < digits + 1 + length {
        return Ok(None);
    }
    buf.advance(digits + 1);
    Ok(Some(buf.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_come_out_and_the_rest_waits() {
        let mut buf = BytesMut::from("3 a\nb12 hello wo");
        assert_eq!(next(&mut buf, 100), Ok(Some(Bytes::from("a\nb"))));
        assert_eq!(next(&mut buf, 100), Ok(None));
        buf.extend_from_slice(b"rld.1");
        assert_eq!(next(&mut buf, 100), Ok(Some(Bytes::from("hello world."))));
        assert_eq!((next(&mut buf, 100), &buf[..]), (Ok(None), &b"1"[..]));
    }

    #[test]
    fn a_frame_that_is_not_counted_is_an_error() {
        let check = |bytes: &str, expected: &str| {
            let err = next(&mut BytesMut::from(bytes), 100).expect_err(bytes);
            assert!(err.contains(expected), "{bytes}: {err}");
        };
        check("<109>1 -", "begins with byte 60");
        check("012 x", "begins with a zero");
        check("12\n", "ends with byte 10");
        check("101 ", "more than 100");
        check("12345678901", "too long");
    }
}
