//! Formats parts of dead letters for a terminal. What is in them is of unknown origin: nothing of it may move the cursor.

use std::time::SystemTime;

use serde::Serialize;

use super::super::print::CommandError;
use super::super::terminal_line::terminal_line;

/// How long ago, in its largest unit.
pub(super) fn age(then: SystemTime, now: SystemTime) -> String {
    // Clocks of several machines differ.
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// At most `width` characters of a text.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A text with its line ends and nothing else that a terminal obeys.
pub(super) fn lines(text: &str) -> String {
    text.lines().map(terminal_line).collect::<Vec<_>>().join("\n")
}

/// Anything as JSON for scripts, and for people who read it.
pub(super) fn pretty(value: &impl Serialize) -> Result<String, CommandError> {
    serde_json::to_string_pretty(value).map_err(CommandError::new)
}

/// Bytes as 16 a line, in hexadecimal and as far as they are text.
pub(super) fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).enumerate().map(|(index, chunk)| {
        let codes: Vec<_> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String =
            chunk.iter().map(|&b| if b.is_ascii_graphic() || b == b' ' { b as char } else { '.' }).collect();
        format!("{:08x}  {:47}  {text}", index * 16, codes.join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ages_have_one_unit_and_are_never_negative() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ago = |seconds| age(now - Duration::from_secs(seconds), now);
        assert_eq!([0, 59, 60, 3_600, 86_399, 172_800].map(ago), ["0s", "59s", "1m", "1h", "23h", "2d"]);
        assert_eq!(age(now + Duration::from_secs(5), now), "0s");
    }

    #[test]
    fn bytes_are_shown_as_numbers_and_as_text() {
        let shown = hex(b"\x00movies and more \xff");
        let expected = "00000000  00 6d 6f 76 69 65 73 20 61 6e 64 20 6d 6f 72 65  .movies and more\n\
                        00000010  20 ff                                             .";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_text_is_cut_by_characters() {
        assert_eq!((cut("Amélie", 6), cut("Amélie", 4)), ("Amélie".to_owned(), "Amé…".to_owned()));
    }
}
