//! Frames of RELP: `TXNR SP COMMAND SP DATALEN [SP DATA] LF`, as the protocol's page in librelp's documentation has them.

/// The largest transaction number; the next one is 1 again. 0 is the receiver's own, for what it says unasked.
pub(super) const TXNR_MAX: u32 = 999_999_999;
/// The longest name of a command.
const COMMAND_BYTES_MAX: usize = 32;
/// An answer is a code and a sentence, or the list of offers. A longer one is none.
const DATA_BYTES_MAX: usize = 32 * 1024;
/// Digits of a transaction number or a length.
const DIGITS_MAX: usize = 9;

/// A frame from the receiver.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) txnr: u32,
    pub(super) command: String,
    pub(super) data: Vec<u8>,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRelp;

/// Adds a frame to `out`.
pub(super) fn push_frame(txnr: u32, command: &str, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{txnr} {command} {}", data.len()).as_bytes());
    if !data.is_empty() {
        out.push(b' ');
        out.extend_from_slice(data);
    }
    out.push(b'\n');
}

/// Takes the first frame off the front of `input`; `None` if it has not come whole yet.
pub(super) fn take_frame(input: &mut Vec<u8>) -> Result<Option<Frame>, NoRelp> {
    let Some((frame, length)) = parse(input)? else { return Ok(None) };
    input.drain(..length);
    Ok(Some(frame))
}

fn parse(input: &[u8]) -> Result<Option<(Frame, usize)>, NoRelp> {
    let mut at = 0;
    let Some(txnr) = number(input, &mut at)? else { return Ok(None) };
    if !expect(input, &mut at, b' ')? {
        return Ok(None);
    }
    let Some(command) = word(input, &mut at)? else { return Ok(None) };
    if !expect(input, &mut at, b' ')? {
        return Ok(None);
    }
    let Some(length) = number(input, &mut at)? else { return Ok(None) };
    let length = usize::try_from(length).ok().filter(|length| *length <= DATA_BYTES_MAX).ok_or(NoRelp)?;
    if length > 0 && !expect(input, &mut at, b' ')? {
        return Ok(None);
    }
    let Some(data) = input.get(at..at + length) else { return Ok(None) };
    let data = data.to_vec();
    at += length;
    // Some receivers put a space even where no data follows.
    if length == 0 && input.get(at) == Some(&b' ') {
        at += 1;
    }
    Ok(expect(input, &mut at, b'\n')?.then_some((Frame { txnr, command, data }, at)))
}

/// Digits up to the byte that ends them; `None` if that byte has not come yet.
fn number(input: &[u8], at: &mut usize) -> Result<Option<u32>, NoRelp> {
    let rest = &input[*at..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > DIGITS_MAX || (digits == 0 && !rest.is_empty()) {
        return Err(NoRelp);
    }
    if digits == rest.len() {
        return Ok(None);
    }
    *at += digits;
    let text = std::str::from_utf8(&rest[..digits]).map_err(|_| NoRelp)?;
    text.parse().map(Some).map_err(|_| NoRelp)
}

fn word(input: &[u8], at: &mut usize) -> Result<Option<String>, NoRelp> {
    let rest = &input[*at..];
    let letters = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    if letters > COMMAND_BYTES_MAX || (letters == 0 && !rest.is_empty()) {
        return Err(NoRelp);
    }
    if letters == rest.len() {
        return Ok(None);
    }
    *at += letters;
    String::from_utf8(rest[..letters].to_vec()).map(Some).map_err(|_| NoRelp)
}

/// Whether that byte is next; an error if another one is.
fn expect(input: &[u8], at: &mut usize, byte: u8) -> Result<bool, NoRelp> {
    match input.get(*at) {
        None => Ok(false),
        Some(found) if *found == byte => {
            *at += 1;
            Ok(true)
        }
        Some(_) => Err(NoRelp),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(txnr: u32, command: &str, data: &str) -> Frame {
        Frame { txnr, command: command.to_owned(), data: data.as_bytes().to_vec() }
    }

    #[track_caller]
    fn check(input: &str, expected: Result<Option<Frame>, NoRelp>, rest: &str) {
        let mut bytes = input.as_bytes().to_vec();
        assert_eq!(take_frame(&mut bytes), expected, "{input:?}");
        assert_eq!(String::from_utf8_lossy(&bytes), rest);
    }

    #[test]
    fn a_frame_is_taken_whole_or_not_at_all() {
        check("2 rsp 6 200 OK\n3 rsp", Ok(Some(frame(2, "rsp", "200 OK"))), "3 rsp");
        check("0 serverclose 0\n", Ok(Some(frame(0, "serverclose", ""))), "");
        check("9 rsp 0 \n", Ok(Some(frame(9, "rsp", ""))), "");
        check("999999999 rsp 3 a\nb\n", Ok(Some(frame(TXNR_MAX, "rsp", "a\nb"))), "");
        let whole = "12 rsp 6 200 OK\n";
        for end in 0..whole.len() {
            check(&whole[..end], Ok(None), &whole[..end]);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_at_its_first_wrong_byte() {
        for input in ["HTTP/1.1 400 Bad", "\u{15}\u{3}", "1234567890", "1  rsp", "1 rsp x", "1 rsp 6 200 OKx", "1 rsp 40000 x", "1 r2"] {
            check(input, Err(NoRelp), input);
        }
        let endless = format!("1 {}", "r".repeat(COMMAND_BYTES_MAX + 1));
        check(&endless, Err(NoRelp), &endless);
    }

    #[test]
    fn a_frame_of_ours_has_its_length_in_bytes() {
        let mut out = Vec::new();
        push_frame(7, "syslog", "é\n".as_bytes(), &mut out);
        push_frame(8, "close", b"", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "7 syslog 3 é\n\n8 close 0\n");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_frame_or_is_refused_and_frames_read_back(
            noise in prop::collection::vec(any::<u8>(), 0..64),
            txnr in 0..=TXNR_MAX,
            data in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = take_frame(&mut noise.clone());
            let mut bytes = Vec::new();
            push_frame(txnr, "rsp", &data, &mut bytes);
            prop_assert_eq!(take_frame(&mut bytes), Ok(Some(Frame { txnr, command: "rsp".to_owned(), data })));
            prop_assert!(bytes.is_empty());
        }
    }
}
