//! Patterns of names, ids and addresses.

/// Text with `*` and `?` in it.
#[derive(Debug)]
pub(super) struct Glob(Vec<char>);

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        Self(pattern.chars().collect())
    }

    /// Goes back to the newest `*` only, so it takes at most pattern times text steps.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut next) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while next < text.len() {
            match self.0.get(at) {
                Some('*') => {
                    star = Some((at, next));
                    at += 1;
                }
                Some(&wanted) if wanted == '?' || wanted == text[next] => {
                    at += 1;
                    next += 1;
                }
                _ => {
                    let Some((star_at, taken)) = star else { return false };
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    next = taken + 1;
                }
            }
        }
        self.0[at..].iter().all(|&rest| rest == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(Glob::new(pattern).matches(name), expected, "{pattern} on {name}");
    }

    #[test]
    fn patterns_match_whole_names() {
        check("board_opened", "board_opened", true);
        check("board_opened", "board_opened2", false);
        check("board_*", "board_opened", true);
        check("*public_link*", "board_public_link_enabled", true);
        check("*sharing", "team_sharing", true);
        check("*sharing", "team_sharing_off", false);
        check("sign_in_?ailed", "sign_in_failed", true);
        check("?", "", false);
        check("*", "", true);
        check("", "", true);
        check("", "a", false);
        check("a*b*c", "aXbYbZc", true);
        check("a*b*c", "aXbYbZ", false);
        check("é?", "éß", true);
        check("Board_*", "board_opened", false);
    }
}
