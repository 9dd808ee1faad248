//! A strict reader of RFC 5424 messages.

/// The parts of a message; a part that is `-` is kept as that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// Facility times eight plus severity.
    pub priority: u8,
    pub timestamp: &'a str,
    pub hostname: &'a str,
    pub app_name: &'a str,
    pub proc_id: &'a str,
    pub msg_id: &'a str,
    /// As written.
    pub structured_data: &'a str,
    /// Without a byte order mark.
    pub msg: &'a [u8],
    pub has_bom: bool,
}

/// Reads a whole message.
///
/// # Errors
/// What the RFC does not allow, as a sentence (section 6 of RFC 5424).
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, &'static str> {
    let rest = bytes.strip_prefix(b"<").ok_or("a message begins with <")?;
    let end = rest.iter().position(|byte| *byte == b'>').ok_or("the priority has no end")?;
    let priority = priority(&rest[..end])?;
    let rest = rest[end + 1..].strip_prefix(b"1 ").ok_or("the version is not 1")?;
    let (timestamp, rest) = part(rest, 64)?;
    check_timestamp(timestamp)?;
    let (hostname, rest) = part(rest, 255)?;
    let (app_name, rest) = part(rest, 48)?;
    let (proc_id, rest) = part(rest, 128)?;
    let (msg_id, rest) = part(rest, 32)?;
    let (structured_data, rest) = structured_data(rest)?;
    let msg = match rest.split_first() {
        None => rest,
        Some((b' ', msg)) => msg,
        Some(_) => return Err("no space follows the structured data"),
    };
    let without_bom = msg.strip_prefix(b"\xef\xbb\xbf");
    if without_bom.is_some_and(|msg| std::str::from_utf8(msg).is_err()) {
        return Err("the message has a byte order mark and is not UTF-8");
    }
    let (msg, has_bom) = (without_bom.unwrap_or(msg), without_bom.is_some());
    Ok(Message { priority, timestamp, hostname, app_name, proc_id, msg_id, structured_data, msg, has_bom })
}

fn priority(digits: &[u8]) -> Result<u8, &'static str> {
    let text = std::str::from_utf8(digits).map_err(|_| "the priority is not a number")?;
    let number: u8 = text.parse().map_err(|_| "the priority is not a number")?;
    if number > 191 {
        Err("the priority is above 191")
    } else if number.to_string() != text {
        Err("the priority is written with more than its digits")
    } else {
        Ok(number)
    }
}

/// A header part of printable ASCII, and what follows the space after it.
fn part(rest: &[u8], length_max: usize) -> Result<(&str, &[u8]), &'static str> {
    let end = rest.iter().position(|byte| *byte == b' ').ok_or("the header ends early")?;
    let part = std::str::from_utf8(&rest[..end]).map_err(|_| "a header part is not ASCII")?;
    if part.is_empty() {
        Err("a header part is empty; it should be -")
    } else if part.len() > length_max {
        Err("a header part is too long")
    } else if !part.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("a header part is not printable ASCII")
    } else {
        Ok((part, &rest[end + 1..]))
    }
}

/// RFC 3339 with capital T and Z, and at most six digits of a second (section 6.2.3).
fn check_timestamp(text: &str) -> Result<(), &'static str> {
    const WRONG: &str = "the timestamp is not as section 6.2.3 wants it";
    if text == "-" {
        return Ok(());
    }
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let capitals = text.as_bytes().get(10) == Some(&b'T') && !text.ends_with('z');
    let dotted = text.contains('.');
    let valid = chrono::DateTime::parse_from_rfc3339(text).is_ok() && capitals && digits <= 6 && dotted == (digits > 0);
    // A leap second parses, and the RFC forbids it.
    let leap = text.get(17..19) == Some("60");
    if valid && !leap { Ok(()) } else { Err(WRONG) }
}

fn structured_data(rest: &[u8]) -> Result<(&str, &[u8]), &'static str> {
    let end = if rest.first() == Some(&b'-') { 1 } else { elements(rest)? };
    let text = std::str::from_utf8(&rest[..end]).map_err(|_| "the structured data is not UTF-8")?;
    Ok((text, &rest[end..]))
}

/// The length of `[id name="value" …][…]…`.
fn elements(bytes: &[u8]) -> Result<usize, &'static str> {
    let mut at = 0;
    while bytes.get(at) == Some(&b'[') {
        at = name(bytes, at + 1)?;
        while bytes.get(at) == Some(&b' ') {
            at = name(bytes, at + 1)?;
            if bytes.get(at..at + 2) != Some(b"=\"") {
                return Err("a parameter has no quoted value");
            }
            at = value(bytes, at + 2)?;
        }
        if bytes.get(at) != Some(&b']') {
            return Err("an element of the structured data has no end");
        }
        at += 1;
    }
    if at == 0 { Err("the structured data is neither - nor an element") } else { Ok(at) }
}

/// SD-NAME: 1 to 32 printable ASCII characters without `=`, space, `]` and `"`. Returns its end.
fn name(bytes: &[u8], begin: usize) -> Result<usize, &'static str> {
    let allowed = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"');
    let length = bytes[begin..].iter().take_while(|byte| allowed(byte)).count();
    if (1..=32).contains(&length) { Ok(begin + length) } else { Err("a name in the structured data is empty or too long") }
}

/// A value, in which `"`, `\` and `]` are escaped. Returns the place after its closing quote.
fn value(bytes: &[u8], begin: usize) -> Result<usize, &'static str> {
    let mut at = begin;
    loop {
        match bytes.get(at) {
            None => return Err("a value in the structured data has no end"),
            Some(b'"') => return Ok(at + 1),
            Some(b']') => return Err("a value in the structured data has a bare ]"),
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_falls_into_its_parts() {
        let bytes = b"<109>1 2026-01-02T03:04:05.123456Z host miro-siem 12 audit [miro@32473 org=\"a\\]\\\"\"][x] {\"id\":\"a\"}";
        let message = parse(bytes).expect("a message");
        let expected = Message {
            priority: 109,
            timestamp: "2026-01-02T03:04:05.123456Z",
            hostname: "host",
            app_name: "miro-siem",
            proc_id: "12",
            msg_id: "audit",
            structured_data: r#"[miro@32473 org="a\]\""][x]"#,
            msg: br#"{"id":"a"}"#,
            has_bom: false,
        };
        assert_eq!(message, expected);
        let bare = parse(b"<0>1 - - - - - -").expect("the shortest message");
        assert_eq!((bare.priority, bare.msg), (0, &b""[..]));
        let bom = parse(b"<0>1 - - - - - - \xef\xbb\xbfx").expect("a message with a byte order mark");
        assert_eq!((bom.msg, bom.has_bom), (&b"x"[..], true));
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        let check = |message: &str, expected: &str| {
            let err = parse(message.as_bytes()).expect_err(message);
            assert!(err.contains(expected), "{message}: {err}");
        };
        check("109>1 - - - - - -", "begins with <");
        check("<192>1 - - - - - -", "above 191");
        check("<009>1 - - - - - -", "more than its digits");
        check("<9>2 - - - - - -", "version");
        check("<9>1 - - - - -", "ends early");
        check("<9>1 2026-01-02 03:04:05Z - - - - -", "timestamp");
        check("<9>1 2026-01-02T03:04:05.1234567Z - - - - -", "timestamp");
        check("<9>1 2026-01-02t03:04:05Z - - - - -", "timestamp");
        check("<9>1 2026-01-02T03:04:60Z - - - - -", "timestamp");
        check(&format!("<9>1 - {} - - - -", "h".repeat(256)), "too long");
        check("<9>1 - h\u{f6}st - - - -", "printable");
        check("<9>1 -  - - - -", "empty");
        check("<9>1 - - - - - x", "neither");
        check("<9>1 - - - - - [a b=\"]\"]", "bare ]");
        check("<9>1 - - - - - [a b=\"c]", "bare ]");
        check("<9>1 - - - - - [a b=c]", "no quoted value");
        check("<9>1 - - - - - [a", "no end");
        check(&format!("<9>1 - - - - - [{}]", "n".repeat(33)), "too long");
        check("<9>1 - - - - - -x", "no space");
    }
}
