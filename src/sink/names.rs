//! Names that people chose, as parts of paths.

use std::borrow::Cow;

/// The name as one component of a path: letters, digits, `-`, `_` and `.` stay, everything else becomes `%` and two digits, so that
/// different names stay different and none of them can leave its directory or hide in it.
pub(crate) fn path_component(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut component = String::with_capacity(name.len() + 8);
    for (index, byte) in name.bytes().enumerate() {
        if plain(byte) && !(index == 0 && byte == b'.') {
            component.push(char::from(byte));
        } else {
            component.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(if component.is_empty() { "%".to_owned() } else { component })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, component: &str) {
        assert_eq!(path_component(name), component);
    }

    #[test]
    fn no_name_leaves_its_directory() {
        check("acme", "acme");
        check("acme.eu-1_b", "acme.eu-1_b");
        check("..", "%2E.");
        check(".", "%2E");
        check("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd");
        check("a/b", "a%2Fb");
        check("a%2Fb", "a%252Fb");
        check("é\0", "%C3%A9%00");
        check("", "%");
    }
}
