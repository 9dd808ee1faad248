//! Reading and writing JSON in place. The bytes have been found to be JSON before: what is here only finds its way in them.

use std::{borrow::Cow, ops::Range};

use super::super::raw::push_json_string;

/// Where the white space from `at` on ends.
pub(super) fn skip_space(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Where the text that begins at `at` ends, quotes included.
pub(super) fn skip_text(json: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if json[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    json.len()
}

/// Where the value that begins at `at` ends.
pub(super) fn skip_value(json: &[u8], at: usize) -> usize {
    match json.get(at) {
        Some(b'"') => skip_text(json, at),
        Some(b'{' | b'[') => skip_container(json, at),
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            json[at.min(json.len())..].iter().position(ends).map_or(json.len(), |length| at + length)
        }
    }
}

fn skip_container(json: &[u8], at: usize) -> usize {
    let (mut at, mut depth) = (at, 0_usize);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => at = skip_text(json, at) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    at
}

/// The text of a literal, quotes included. Half a surrogate pair becomes U+FFFD.
pub(super) fn text_of(literal: &[u8]) -> Cow<'_, [u8]> {
    let inner = &literal[1..literal.len() - 1];
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut text = Vec::with_capacity(inner.len());
    for (spelled, char) in Units::of(inner) {
        char.push(&inner[spelled], &mut text);
    }
    Cow::Owned(text)
}

/// A literal with parts of its text replaced: `parts` are ranges of the text, in order, each with what stands there instead. All other
/// characters stay spelled as they are.
pub(super) fn splice_text<'r>(literal: &[u8], parts: impl Iterator<Item = (Range<usize>, &'r [u8])>, out: &mut Vec<u8>) {
    let inner = &literal[1..literal.len() - 1];
    let mut parts = parts.peekable();
    let mut at = 0;
    out.push(b'"');
    for (spelled, char) in Units::of(inner) {
        while let Some((_, replacement)) = parts.next_if(|(part, _)| part.end <= at) {
            push_inside(replacement, out);
        }
        if parts.peek().is_none_or(|(part, _)| part.start > at) {
            out.extend_from_slice(&inner[spelled.clone()]);
        }
        at += char.len(&inner[spelled]);
    }
    parts.for_each(|(_, replacement)| push_inside(replacement, out));
    out.push(b'"');
}

/// Adds a text as it stands between quotes.
fn push_inside(text: &[u8], out: &mut Vec<u8>) {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    push_json_string(&String::from_utf8_lossy(text), &mut quoted);
    out.extend_from_slice(&quoted[1..quoted.len() - 1]);
}

/// What a piece of a literal stands for.
enum Char {
    /// Itself.
    Plain,
    /// This.
    Escaped(char),
}

impl Char {
    fn len(&self, spelled: &[u8]) -> usize {
        match self {
            Self::Plain => spelled.len(),
            Self::Escaped(char) => char.len_utf8(),
        }
    }

    fn push(&self, spelled: &[u8], text: &mut Vec<u8>) {
        match self {
            Self::Plain => text.extend_from_slice(spelled),
            Self::Escaped(char) => text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The pieces of a literal without its quotes: single bytes, and escapes.
struct Units<'a> {
    inner: &'a [u8],
    at: usize,
}

impl<'a> Units<'a> {
    fn of(inner: &'a [u8]) -> Self {
        Self { inner, at: 0 }
    }

    /// The number after `\u` at that place.
    fn code(&self, at: usize) -> Option<u32> {
        let digits = self.inner.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    /// The character that an escape at that place stands for, and its length as it is spelled.
    fn escape(&self, at: usize) -> (char, usize) {
        let simple = |char| (char, 2);
        match self.inner.get(at + 1) {
            Some(b'b') => simple('\u{8}'),
            Some(b'f') => simple('\u{c}'),
            Some(b'n') => simple('\n'),
            Some(b'r') => simple('\r'),
            Some(b't') => simple('\t'),
            Some(b'u') => self.unicode(at),
            Some(byte) => simple(char::from(*byte)),
            None => ('\\', 1),
        }
    }

    fn unicode(&self, at: usize) -> (char, usize) {
        let Some(code) = self.code(at) else { return (char::REPLACEMENT_CHARACTER, 2) };
        if let Some(char) = char::from_u32(code) {
            return (char, 6);
        }
        let low = self.code(at + 6).filter(|low| (0xdc00..0xe000).contains(low) && code < 0xdc00);
        let pair = low.and_then(|low| char::from_u32(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)));
        pair.map_or((char::REPLACEMENT_CHARACTER, 6), |char| (char, 12))
    }
}

impl Iterator for Units<'_> {
    type Item = (Range<usize>, Char);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let (char, length) = match self.inner.get(start)? {
            b'\\' => {
                let (char, length) = self.escape(start);
                (Char::Escaped(char), length)
            }
            _ => (Char::Plain, 1),
        };
        self.at = (start + length).min(self.inner.len());
        Some((start..self.at, char))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn text(literal: &str, expected: &str) {
        assert_eq!(String::from_utf8_lossy(&text_of(literal.as_bytes())), expected, "{literal}");
    }

    #[test]
    fn escapes_are_read_as_the_standard_has_them() {
        text(r#""plain é""#, "plain é");
        text(r#""\"\\\/\b\f\n\r\t\u0065""#, "\"\\/\u{8}\u{c}\n\r\te");
        text(r#""\ud83d\ude80 \u00E9""#, "🚀 é");
        text(r#""\ud83d x \ude80\ud83d\u0041""#, "\u{fffd} x \u{fffd}\u{fffd}A");
        text(r#""""#, "");
    }

    #[test]
    fn values_end_where_they_end() {
        for (json, end) in [(r#"{"a":"}\"]","b":[{}]},"#, 21), ("12e3]", 4), ("null", 4), (r#""a\\","#, 5), ("[[],[]] ", 7), ("-1 ", 2)] {
            assert_eq!(skip_value(json.as_bytes(), 0), end, "{json}");
        }
    }

    #[track_caller]
    fn splice(literal: &str, parts: &[(Range<usize>, &str)], expected: &str) {
        let mut out = Vec::new();
        splice_text(literal.as_bytes(), parts.iter().map(|(part, text)| (part.clone(), text.as_bytes())), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{literal}");
    }

    #[test]
    fn only_what_is_replaced_is_spelled_anew() {
        splice(r#""\u0061b\/c""#, &[(1..2, "X\"")], r#""\u0061X\"\/c""#);
        splice(r#""abc""#, &[(0..0, "<"), (3..3, ">")], r#""<abc>""#);
        splice(r#""abc""#, &[(0..1, ""), (1..2, "Y")], r#""Yc""#);
        splice(r#""é\ud83d\ude80é""#, &[(2..6, "")], r#""éé""#);
        splice(r#""""#, &[(0..0, "x")], r#""x""#);
    }
}
