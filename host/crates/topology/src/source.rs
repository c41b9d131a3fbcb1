//! The text of a file, the places in it, and what of it must not be shown.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Where something is, as editors count: both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// A file as it was read. Passwords in it never leave: [`SourceText::shown`] has them masked.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceText {
    name: String,
    text: String,
    /// Where each line starts.
    lines: Vec<usize>,
    /// What is not shown, in order of where it starts; may overlap.
    hidden: Vec<Range<usize>>,
}

impl SourceText {
    /// Takes a file's text. A byte order mark is dropped, so that column 1 is the first character that one sees.
    #[must_use]
    pub fn new(name: impl Into<String>, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let hidden = passwords(&text);
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: name.into(), text, lines, hidden }
    }

    /// The path as the user gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text, passwords included: for parsing, not for showing.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Keeps these bytes from being shown.
    fn hide(&mut self, span: Range<usize>) {
        let span = self.clamp(span);
        let place = self.hidden.partition_point(|other| other.start < span.start);
        self.hidden.insert(place, span);
    }

    /// The source with these bytes kept from being shown.
    pub(crate) fn without_secrets(mut self, secrets: Vec<Range<usize>>) -> Arc<Self> {
        for span in secrets {
            self.hide(span);
        }
        Arc::new(self)
    }

    /// Whether a part of `span` is already kept from being shown.
    pub(crate) fn hides_in(&self, span: &Range<usize>) -> bool {
        self.hidden.iter().any(|hidden| hidden.start < span.end && span.start < hidden.end)
    }

    /// The text with every password masked. Each character is replaced by one of as many bytes, so that spans and
    /// columns stay true.
    #[must_use]
    pub fn shown(&self) -> String {
        self.shown_part(0..self.text.len())
    }

    /// The lines that `spans` are in and those between, masked; the offset at which they start, and the first's number.
    pub(crate) fn shown_lines<'s>(&self, spans: impl Iterator<Item = &'s Range<usize>>) -> (String, usize, usize) {
        let (mut first, mut last) = (usize::MAX, 0);
        for span in spans {
            let span = self.clamp(span.clone());
            first = first.min(self.line_of(span.start));
            last = last.max(self.line_of(span.end));
        }
        let first = first.min(last);
        let start = self.lines[first];
        let end = self.lines.get(last + 1).copied().unwrap_or(self.text.len());
        (self.shown_part(start..end), start, first + 1)
    }

    fn shown_part(&self, part: Range<usize>) -> String {
        let overlapping = |hidden: &&Range<usize>| hidden.start < part.end && part.start < hidden.end;
        let mut hidden = self.hidden.iter().filter(overlapping).peekable();
        let mut masked_to = 0;
        let mask = |(at, c): (usize, char)| {
            while let Some(span) = hidden.next_if(|span| span.start <= part.start + at) {
                masked_to = masked_to.max(span.end);
            }
            match (c, c.len_utf8()) {
                ('\n' | '\r', _) => c,
                _ if part.start + at >= masked_to => c,
                (_, 1) => '*',
                (_, 2) => '\u{b7}',
                (_, 3) => '\u{2022}',
                _ => '\u{1f784}',
            }
        };
        self.text[part.clone()].char_indices().map(mask).collect()
    }

    /// The line that an offset is in, from 0.
    fn line_of(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// Where a byte offset is. One that is out of the text is its end.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.clamp(offset..offset).start;
        let line = self.line_of(offset);
        let before = &self.text[self.lines[line]..offset];
        Position { line: line + 1, column: before.chars().count() + 1 }
    }

    /// The nearest span that lies in the text and on its characters' boundaries.
    pub(crate) fn clamp(&self, span: Range<usize>) -> Range<usize> {
        let start = floor_boundary(&self.text, span.start);
        start..floor_boundary(&self.text, span.end).max(start)
    }
}

impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceText({}, {} bytes)", self.name, self.text.len())
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The passwords of `scheme://user:password@host`, wherever they stand: in values, in comments, in text that is not even
/// TOML. Where a line is ambiguous more is hidden, not less.
fn passwords(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let mut from = 0;
        while let Some(slashes) =
            ["://", ":\\/\\/"].iter().filter_map(|mark| line[from..].find(mark).map(|at| from + at + mark.len())).min()
        {
            let rest = &line[slashes..];
            if let (Some(colon), Some(at)) = (rest.find(':'), rest.rfind('@'))
                && colon + 1 < at
                && !is_variable(&rest[colon + 1..at])
            {
                found.push(line_start + slashes + colon + 1..line_start + slashes + at);
            }
            from = slashes;
        }
        line_start += line.len();
    }
    found
}

/// `${VAR}` says where the password is, not what it is. With a default it may say both.
fn is_variable(password: &str) -> bool {
    let name = password.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = SourceText::new("t", "\u{feff}äb = 1\r\nc = 2");
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position("ä".len()), Position { line: 1, column: 2 });
        assert_eq!(source.position("äb = 1\r\nc".len()), Position { line: 2, column: 2 });
        assert_eq!(source.position(1_000), Position { line: 2, column: 6 });
        assert_eq!(source.position(1), Position { line: 1, column: 1 }, "in the middle of a character");
    }

    #[test]
    fn passwords_are_masked_and_columns_stay() {
        for (text, shown) in [
            ("url = \"amqp://me:hunter2@host/\" # x", "url = \"amqp://me:*******@host/\" # x"),
            ("# amqp://me:p@ss:w/rd@host", "# amqp://me:*********@host"),
            ("{\"broker_url\":\"amqp:\\/\\/me:pw@host\"}", "{\"broker_url\":\"amqp:\\/\\/me:**@host\"}"),
            ("a://u:pä€😀@h", "a://u:*\u{b7}\u{2022}\u{1f784}@h"),
            ("url = \"amqp://host:5672\"", "url = \"amqp://host:5672\""),
            ("amqp://me@host", "amqp://me@host"),
            ("amqp://me:${PW}@host", "amqp://me:${PW}@host"),
            ("amqp://me:${PW:-pw}@host", "amqp://me:*********@host"),
            ("amqp://me:${PW}pw}@host", "amqp://me:********@host"),
            ("amqp://me:first@a\namqp://me:second@b", "amqp://me:*****@a\namqp://me:******@b"),
        ] {
            let source = SourceText::new("t", text);
            assert_eq!(source.shown(), shown);
            assert_eq!(source.shown().len(), text.len());
        }
    }

    #[test]
    fn debug_shows_no_text() {
        assert_eq!(format!("{:?}", SourceText::new("a.toml", "url = 'amqp://u:pw@h'")), "SourceText(a.toml, 21 bytes)");
    }
}
