//! Text from outside, made harmless for a log line or a terminal.

use std::fmt::{self, Write};

/// Writes text with every character escaped that could end the line, move the cursor or turn the reading direction.
pub struct Escaped<W>(pub W);

impl<W: Write> Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut clean_from = 0;
        for (at, found) in text.char_indices().filter(|(_, c)| is_harmful(*c)) {
            self.0.write_str(&text[clean_from..at])?;
            write!(self.0, "{}", found.escape_default())?;
            clean_from = at + found.len_utf8();
        }
        self.0.write_str(&text[clean_from..])
    }
}

fn is_harmful(c: char) -> bool {
    // Controls (C0, DEL, C1), line and paragraph separators, and the bidirectional controls of "Trojan Source".
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn escape(text: &str) -> String {
        let mut out = String::new();
        Escaped(&mut out).write_str(text).unwrap();
        out
    }

    #[test]
    fn controls_are_shown_instead_of_obeyed() {
        assert_eq!(escape("a\nINFO b\x1b[2J\u{9b}c\u{202e}"), r"a\nINFO b\u{1b}[2J\u{9b}c\u{202e}");
        assert_eq!(escape("Amélie ÷ 東京 🎬"), "Amélie ÷ 東京 🎬");
    }

    proptest! {
        #[test]
        fn nothing_harmful_gets_through_and_nothing_else_changes(text in any::<String>()) {
            let out = escape(&text);
            prop_assert!(!out.chars().any(is_harmful));
            if !text.chars().any(is_harmful) {
                prop_assert_eq!(out, text);
            }
        }
    }
}
