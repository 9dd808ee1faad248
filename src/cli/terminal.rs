//! What goes to a terminal: colours where they are wanted, spans of time as people read them, lines of a bounded width.

use std::io::IsTerminal;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The width that every table keeps to.
pub(super) const COLUMNS: usize = 100;

/// Whether texts are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// They are.
    On,
    /// They are plain.
    Off,
}

/// A colour, by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Somebody is needed.
    Bad,
    /// What stands out among other words.
    Name,
    /// Beside the point.
    Quiet,
    /// Nothing to say.
    Plain,
}

impl Colours {
    /// On a terminal that can show them, unless NO_COLOR is set (<https://no-color.org>).
    pub(super) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stdout().is_terminal() && !unwanted && !dumb { Self::On } else { Self::Off }
    }

    /// The text in that colour. Its width stays: pad it before.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            _ if text.is_empty() => return String::new(),
            (Self::Off, _) | (Self::On, Tone::Plain) => return text.to_owned(),
            (Self::On, Tone::Good) => "32",
            (Self::On, Tone::Doubtful) => "33",
            (Self::On, Tone::Bad) => "1;31",
            (Self::On, Tone::Name) => "36",
            (Self::On, Tone::Quiet) => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// How many columns stdout has; [`COLUMNS`] where it is no terminal.
pub(super) fn columns_of_stdout() -> usize {
    let term = console::Term::stdout();
    if term.is_term() { term.size_checked().map_or(COLUMNS, |(_, columns)| usize::from(columns)) } else { COLUMNS }
}

/// How many columns the text takes on a terminal: wide letters take two, combining ones none.
pub(super) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The text in exactly so many columns: filled with blanks, or cut, with `…` at its end.
pub(super) fn fitted(text: &str, columns: usize) -> String {
    let mut fitted = String::with_capacity(columns);
    let mut taken = 0;
    if width(text) <= columns {
        fitted.push_str(text);
        taken = width(text);
    } else if columns > 0 {
        for symbol in text.chars() {
            let more = symbol.width().unwrap_or(0);
            if taken + more + 1 > columns {
                break;
            }
            fitted.push(symbol);
            taken += more;
        }
        fitted.push('…');
        taken += 1;
    }
    fitted.extend(std::iter::repeat_n(' ', columns.saturating_sub(taken)));
    fitted
}

/// Seconds as a person reads them.
pub(super) fn span(secs: f64) -> String {
    match secs {
        secs if secs < 120.0 => format!("{secs:.0}s"),
        secs if secs < 7_200.0 => format!("{:.0}m", secs / 60.0),
        secs if secs < 172_800.0 => format!("{:.0}h", secs / 3_600.0),
        secs => format!("{:.0}d", secs / 86_400.0),
    }
}

/// The text in lines of at most [`COLUMNS`], each after two blanks; a word that is longer is torn.
pub(super) fn indented(text: &str) -> String {
    const WIDTH: usize = COLUMNS - 2;
    let mut lines: Vec<String> = vec![String::new()];
    let mut width = 0;
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(WIDTH) {
            let gap = usize::from(width > 0);
            if width + gap + piece.len() > WIDTH {
                lines.push(String::new());
                width = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.extend((width > 0).then_some(' '));
                width += usize::from(width > 0) + piece.len();
                line.extend(piece);
            }
        }
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_that_are_on_add_anything() {
        assert_eq!(Colours::Off.paint(Tone::Bad, "paused"), "paused");
        assert_eq!(Colours::On.paint(Tone::Plain, "paused"), "paused");
        assert_eq!(Colours::On.paint(Tone::Bad, "paused"), "\u{1b}[1;31mpaused\u{1b}[0m");
    }

    #[test]
    fn a_fitted_text_takes_its_columns_whatever_its_letters() {
        for (text, columns, expected) in [
            ("Ada", 5, "Ada  "),
            ("Ada Lovelace", 5, "Ada …"),
            ("Ada", 3, "Ada"),
            ("ロードマップ", 6, "ロー… "),
            ("e\u{301}e\u{301}e\u{301}", 3, "e\u{301}e\u{301}e\u{301}"),
            ("Ada", 0, ""),
            ("Ada", 1, "…"),
        ] {
            let fitted = fitted(text, columns);
            assert_eq!((fitted.as_str(), width(&fitted)), (expected, columns), "{text:?} in {columns}");
        }
    }

    #[test]
    fn long_texts_are_wrapped_within_the_width_and_lose_no_word() {
        let text = format!("{} {}", "word ".repeat(60), "x".repeat(250));
        let wrapped = indented(&text);
        assert!(wrapped.lines().all(|line| line.chars().count() <= COLUMNS && line.starts_with("  ")), "{wrapped}");
        assert_eq!(wrapped.matches("word").count(), 60);
        assert_eq!(wrapped.matches('x').count(), 250);
    }
}
