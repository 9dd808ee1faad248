//! What Miro says when it refuses: its error object in both dialects, the shape of RFC 6749, HTML, or nothing. Whatever is kept of it
//! is short and free of control characters and secrets.

use std::fmt;

use serde_json::Value;

/// Miro's own words are kept up to this many characters: enough for any message that it documents.
const WORDS_CHARS_MAX: usize = 200;
/// Miro's tokens begin with this: base64url of `{"miro`.
const TOKEN_PREFIX: &str = "eyJtaXJv";
/// Anything shorter is neither a token nor a cursor, and masking it would only make Miro's words unreadable.
const SECRET_BYTES_MIN: usize = 6;
const MASK: &str = "…";

/// A refusal as Miro worded it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    /// Names of the fields that Miro complains about, with its complaint.
    pub(super) fields: Vec<(String, String)>,
    body: Body,
}

/// What the body was, where it was not Miro's error object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Body {
    #[default]
    Object,
    Html,
    Empty,
    Other,
}

impl Refusal {
    /// Reads a refusal. `secrets` are masked wherever Miro repeats them: the token, the cursor.
    pub(super) fn read(status: u16, body: &[u8], secrets: &[&str]) -> Self {
        let mut refusal = Self { status, ..Self::default() };
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::Object(object)) => refusal.take(&object, secrets),
            _ => refusal.body = kind_of(body),
        }
        refusal
    }

    fn take(&mut self, object: &serde_json::Map<String, Value>, secrets: &[&str]) {
        let words = |value: Option<&Value>| value.and_then(text_of).map(|text| clean(&text, secrets)).filter(|text| !text.is_empty());
        // `error` and `error_description` are RFC 6749 section 5.2; Miro's own object has `code` and `message`.
        self.code = words(object.get("code")).or_else(|| words(object.get("error")));
        self.message = words(object.get("message")).or_else(|| words(object.get("error_description")));
        let fields = object.get("context").and_then(|context| context.get("fields")).and_then(Value::as_array);
        for field in fields.into_iter().flatten().take(3) {
            let name = words(field.get("field")).unwrap_or_default();
            self.fields.push((name, words(field.get("message")).unwrap_or_default()));
        }
    }

    /// Whether Miro complains about this parameter, by field or in its message.
    pub(super) fn names(&self, parameter: &str) -> bool {
        let word_in = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.eq_ignore_ascii_case(parameter));
        self.fields.iter().any(|(name, complaint)| word_in(name) || word_in(complaint)) || self.message.as_deref().is_some_and(word_in)
    }
}

impl fmt::Display for Refusal {
    /// `403 insufficientPermissions: Access Denied`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        match self.body {
            Body::Html => return f.write_str(" with a web page"),
            Body::Empty => return f.write_str(" without a word"),
            Body::Other => return f.write_str(" in a form that is not Miro's"),
            Body::Object => {}
        }
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        for (name, complaint) in &self.fields {
            write!(f, "; {name}: {complaint}")?;
        }
        Ok(())
    }
}

fn kind_of(body: &[u8]) -> Body {
    let begins = body.trim_ascii_start();
    match begins.first() {
        None => Body::Empty,
        Some(b'<') => Body::Html,
        Some(_) => Body::Other,
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Words of the other side as they may be shown: one line, short, secrets masked.
pub(super) fn clean(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
        text = text.replace(secret, MASK);
    }
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let masked = mask_tokens(line.trim());
    match masked.char_indices().nth(WORDS_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &masked[..cut]),
        None => masked,
    }
}

fn mask_tokens(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(TOKEN_PREFIX) {
        out.push_str(&rest[..at]);
        out.push_str(MASK);
        rest = rest[at..].trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '='));
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &str) {
        assert_eq!(Refusal::read(400, body.as_bytes(), &["S3CRET"]).to_string(), expected);
    }

    #[test]
    fn every_dialect_of_refusal_is_read() {
        check(
            r#"{"type":"error","code":"2.0703","context":{"fields":[{"field":"limit","message":"too large"}]},"message":"Invalid parameters","status":400}"#,
            "400 2.0703: Invalid parameters; limit: too large",
        );
        check(
            r#"{"status":400,"code":"tooManyRequests","message":"Request rate limit exceed","context":null,"type":"error"}"#,
            "400 tooManyRequests: Request rate limit exceed",
        );
        check(r#"{"error":"invalid_grant","error_description":"gone"}"#, "400 invalid_grant: gone");
        check(r#"{"code":27}"#, "400 27");
        check("{}", "400");
        check("<html>503</html>", "400 with a web page");
        check("  ", "400 without a word");
        check("no", "400 in a form that is not Miro's");
        check("[1]", "400 in a form that is not Miro's");
    }

    #[test]
    fn words_are_short_one_line_and_free_of_secrets() {
        check(r#"{"message":"a\nb\u0000c S3CRET d"}"#, "400: a b c … d");
        check(r#"{"message":"token eyJtaXJvLm9yaWdpbiI6ImV1MDEifQ_abc-DEF_123 bad"}"#, "400: token … bad");
        let long = format!(r#"{{"message":"{}"}}"#, "ä".repeat(500));
        check(&long, &format!("400: {}…", "ä".repeat(200)));
    }

    #[test]
    fn a_parameter_is_found_as_a_word_of_the_complaint() {
        let names = |body: &str| Refusal::read(400, body.as_bytes(), &[]).names("limit");
        assert!(names(r#"{"message":"Field [limit] must be between 1 and 100"}"#));
        assert!(names(r#"{"context":{"fields":[{"field":"limit"}]}}"#));
        assert!(!names(r#"{"message":"unlimited trouble"}"#));
    }
}
