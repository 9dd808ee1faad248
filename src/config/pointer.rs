//! Where in an event something is: JSON pointers (RFC 6901), with two wildcards.
//!
//! `*` stands for any member of an object and any element of an array, `**` for any number of steps, none included. A member that is
//! called `*` cannot be named alone. As in the RFC, `~1` is `/` and `~0` is `~`.

use std::fmt;

use super::value::{FromText, Unfit};

const CHARS_MAX: usize = 1_024;
/// Far deeper than anything that Miro nests.
const SEGMENTS_MAX: usize = 32;

/// A pointer with at least one step.
#[derive(Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    segments: Vec<Segment>,
}

/// One step of a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The member of that name, or the array's element of that number.
    Name(String),
    /// Any member or element.
    Any,
    /// Any number of steps.
    Deep,
}

impl Pointer {
    /// Reads what was written; why it is none, in words that follow "a pointer".
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() > CHARS_MAX {
            return Err(format!("it is longer than {CHARS_MAX} characters"));
        }
        let Some(inner) = text.strip_prefix('/') else { return Err("it begins with `/`".to_owned()) };
        let segments: Vec<Segment> = inner.split('/').map(segment).collect::<Result<_, _>>()?;
        if segments.len() > SEGMENTS_MAX {
            return Err(format!("it has more than {SEGMENTS_MAX} steps"));
        }
        if segments.last() == Some(&Segment::Deep) {
            return Err("`**` is followed by what is looked for below".to_owned());
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// Its steps.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    match text {
        "*" => return Ok(Segment::Any),
        "**" => return Ok(Segment::Deep),
        _ => {}
    }
    let mut name = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, if char == '~' { chars.next() } else { None }) {
            ('~', Some('0')) => name.push('~'),
            ('~', Some('1')) => name.push('/'),
            ('~', _) => return Err("`~` is written `~0`, and `/` in a name `~1`".to_owned()),
            (char, _) => name.push(char),
        }
    }
    Ok(Segment::Name(name))
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pointer({})", self.text)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromText for Pointer {
    const MEANT: &'static str = "a JSON pointer such as \"/createdBy/email\", with `*` for any member or element and `**` for any depth";
    const SHORT: &'static str = "JSON pointers";
    const PATTERN: Option<&'static str> = Some("^/");

    fn from_text(text: &str) -> Result<Self, Unfit> {
        Self::parse(text).map_err(Unfit::Because)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[&str], &str>) {
        let shown = |segment: &Segment| match segment {
            Segment::Name(name) => name.clone(),
            Segment::Any => "ANY".to_owned(),
            Segment::Deep => "DEEP".to_owned(),
        };
        match (Pointer::parse(text), expected) {
            (Ok(pointer), Ok(expected)) => {
                assert_eq!(pointer.segments().iter().map(shown).collect::<Vec<_>>(), expected, "{text}");
                assert_eq!(pointer.to_string(), text);
            }
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn a_pointer_is_read_as_the_rfc_says_with_two_wildcards() {
        check("/a", Ok(&["a"]));
        check("/a~1b/~0c/~01", Ok(&["a/b", "~c", "~1"]));
        check("/", Ok(&[""]));
        check("/a//0", Ok(&["a", "", "0"]));
        check("/a/*/**/b", Ok(&["a", "ANY", "DEEP", "b"]));
        check("/a*/***", Ok(&["a*", "***"]));
        check("", Err("begins with"));
        check("a", Err("begins with"));
        check("$.a", Err("begins with"));
        check("/a~", Err("~0"));
        check("/a~2", Err("~0"));
        check("/a/**", Err("followed by"));
        check(&"/a".repeat(33), Err("more than 32"));
        check(&format!("/{}", "a".repeat(1_024)), Err("longer than"));
    }
}
