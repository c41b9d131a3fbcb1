//! What the TOML parser says, in our words and with both places of a duplicate.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::diagnostics::{Diagnostic, Doubt};
use super::read_context::{MAX_FOUND, Span};
use super::source::SourceText;

/// A value is quoted up to here.
const MAX_SHOWN_VALUE: usize = 60;

/// What the parser recovered after a syntax error is a guess: its word is not taken on that error's line, nor about what
/// is missing, nor about keys in the wrong table once a header may have been lost.
pub(crate) fn without_echoes(
    source: &SourceText,
    syntax_errors: Vec<Diagnostic>,
    found: Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    let line = |item: &Diagnostic| item.primary.as_ref().map_or(0, |label| source.position(label.span.start).line);
    let broken: Vec<usize> = syntax_errors.iter().map(line).collect();
    let lines: Vec<&str> = source.text().lines().collect();
    let is_header = |line: usize| !lines.get(line.saturating_sub(1)).is_some_and(|text| text.contains('='));
    let lost_header = broken.iter().copied().find(|line| is_header(*line));
    let is_echo = |item: &Diagnostic| match item.doubt {
        _ if broken.contains(&line(item)) => true,
        Some(Doubt::Missing) => !broken.is_empty(),
        Some(Doubt::Misplaced) => lost_header.is_some_and(|lost| lost < line(item)),
        None => false,
    };
    let kept: Vec<_> = found.into_iter().filter(|item| !is_echo(item)).collect();
    syntax_errors.into_iter().chain(kept).collect()
}

/// One diagnostic for each line that has syntax errors: a second one there is most often the echo of the first.
pub(crate) fn diagnostics(source: &SourceText, document: &DeTable<'_>, errors: &[toml::de::Error]) -> Vec<Diagnostic> {
    let mut seen = BTreeSet::new();
    let spans = errors.iter().map(|error| (error, source.clamp(error.span().unwrap_or(0..0))));
    let first_of_line = spans.filter(|(_, span)| seen.insert(source.position(span.start).line));
    first_of_line.take(MAX_FOUND).map(|(error, span)| diagnostic(source, document, error.message(), span)).collect()
}

fn diagnostic(source: &SourceText, document: &DeTable<'_>, message: &str, span: Span) -> Diagnostic {
    if message == "duplicate key" {
        let key = source.text().get(span.clone()).unwrap_or_default().trim();
        let error = Diagnostic::error(format!("`{key}` is there twice")).at(span.clone(), "again here");
        let name = key.trim_matches(['"', '\'']);
        return match first_key(source, document, name, &span).or_else(|| first_header(source, &span)) {
            Some(first) => error.also(first, "first here"),
            None => error,
        };
    }
    if message.contains("recurs") {
        return Diagnostic::error("tables or arrays are nested too deeply").at(span, "too deep");
    }
    let value = line_of(source, &span).split_once('=').map_or("", |(_, value)| value.trim());
    if message.starts_with("string values must be quoted") {
        return unquoted(span, value);
    }
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, "nothing"));
    let label = if expected == "nothing" { String::new() } else { format!("expected {expected}") };
    Diagnostic::error(format!("this is not TOML: {what}")).at(span, label)
}

/// The parser found neither a quote nor anything else that a value starts with.
fn unquoted(span: Span, value: &str) -> Diagnostic {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    if value.is_empty() || value.starts_with('#') {
        return Diagnostic::error("this is not TOML: a value is missing").at(span, "expected a value");
    }
    let error = Diagnostic::error("this is not TOML: text needs quotes").at(span, "not a value");
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" => error.help("a switch is `true` or `false`: write `true`"),
        "false" | "no" => error.help("a switch is `true` or `false`: write `false`"),
        "on" | "off" => error.help("write \"off\" where that is one of the words, else `true` or `false`"),
        _ if value.len() <= MAX_SHOWN_VALUE && value.chars().all(bare) => error.help(format!("write \"{value}\"")),
        _ => error,
    }
}

/// The first of two keys of one table: the one that the recovered document kept, in the table that the second stands in.
fn first_key(source: &SourceText, document: &DeTable<'_>, name: &str, second: &Span) -> Option<Span> {
    // Of a dotted key only the last part is marked, and its table is not the one around it.
    if source.text()[..second.start].trim_end_matches([' ', '\t']).ends_with('.') {
        return None;
    }
    let (key, _) = innermost(source, document, second).get_key_value(name)?;
    (key.span().end <= second.start).then(|| key.span())
}

/// The table whose keys are being written at `place`: the inline table around it, else the one whose header is the last.
fn innermost<'t>(source: &SourceText, document: &'t DeTable<'t>, place: &Span) -> &'t DeTable<'t> {
    let (mut table, mut start, mut rest) = (document, 0, document.values().collect::<Vec<_>>());
    while let Some(value) = rest.pop() {
        match value.get_ref() {
            DeValue::Table(inner) => {
                let span = value.span();
                let is_open = match source.text().as_bytes().get(span.start) {
                    Some(b'[') => span.end <= place.start,
                    Some(b'{') => span.start < place.start && place.end <= span.end,
                    // Made by a dotted key: nothing else is written into it.
                    _ => false,
                };
                if is_open && span.start >= start {
                    (table, start) = (inner, span.start);
                }
                rest.extend(inner.values());
            }
            DeValue::Array(array) => rest.extend(array.iter()),
            _ => {}
        }
    }
    table
}

/// The first of two equal `[headers]`; the document keeps only the second.
fn first_header(source: &SourceText, second: &Span) -> Option<Span> {
    let text = source.text();
    let (header, _) = line_of(source, second).trim_start().split_once(']')?;
    let name = header.strip_prefix('[')?;
    let mut line_start = 0;
    for line in text[..second.start].split_inclusive('\n') {
        let is_same = line.trim_start().split_once(']').is_some_and(|(other, _)| other == header);
        if is_same {
            let start = line_start + line.find('[')? + 1;
            return (start < second.start).then(|| start..start + name.len());
        }
        line_start += line.len();
    }
    None
}

fn line_of<'s>(source: &'s SourceText, span: &Span) -> &'s str {
    let text = source.text();
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[span.start..].find('\n').map_or(text.len(), |at| span.start + at);
    &text[start..end]
}
