//! What the TOML parser says, in our words and with both places of a duplicate.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::Diagnostic;
use super::source::Source;
use super::walk::Span;

/// One diagnostic for each line that has syntax errors: a second one there is most often the echo of the first.
pub(super) fn diagnostics(source: &Source, document: &DeTable<'_>, errors: &[toml::de::Error]) -> Vec<Diagnostic> {
    let mut found: Vec<(usize, Diagnostic)> = Vec::new();
    for error in errors {
        let span = source.clamp(error.span().unwrap_or(0..0));
        let line = source.position(span.start).line;
        if found.iter().any(|(other, _)| *other == line) {
            continue;
        }
        found.push((line, diagnostic(source, document, error.message(), span)));
    }
    found.into_iter().map(|(_, diagnostic)| diagnostic).collect()
}

fn diagnostic(source: &Source, document: &DeTable<'_>, message: &str, span: Span) -> Diagnostic {
    if message == "duplicate key" {
        let key = source.text().get(span.clone()).unwrap_or_default().trim();
        let error = Diagnostic::error(format!("`{key}` is there twice")).at(span.clone(), "again here");
        let name = key.trim_matches(['"', '\'']);
        return match first_key(document, name, &span).or_else(|| first_header(source, &span)) {
            Some(first) => error.also(first, "first here"),
            None => error,
        };
    }
    if message == "recursion limit" {
        return Diagnostic::error("tables or arrays are nested too deeply").at(span, "too deep");
    }
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let label = if expected.is_empty() { String::new() } else { format!("expected {expected}") };
    let error = Diagnostic::error(format!("this is not TOML: {what}")).at(span.clone(), label);
    match line_of(source, &span).split_once('=') {
        Some((_, value)) if needs_quotes(value.trim()) => {
            error.help(format!("text needs quotes: \"{}\"", value.trim()))
        }
        _ => error,
    }
}

/// A value such as `10s` or `embedded`, which only lacks its quotes.
fn needs_quotes(value: &str) -> bool {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    !value.is_empty() && value.len() <= 60 && value.chars().all(bare)
}

/// The first of two keys of one table: the one that the recovered document kept, in the table that the second stands in.
fn first_key(document: &DeTable<'_>, name: &str, second: &Span) -> Option<Span> {
    let mut innermost = (document, 0);
    enclosing(document, second, &mut innermost);
    let (key, _) = innermost.0.get_key_value(name)?;
    (key.span().end <= second.start).then(|| key.span())
}

/// Finds the table that starts last before `place`: that is the one whose keys are being written there.
fn enclosing<'t>(table: &'t DeTable<'t>, place: &Span, innermost: &mut (&'t DeTable<'t>, usize)) {
    for value in table.values() {
        visit(value, place, innermost);
    }
}

fn visit<'t>(value: &'t Spanned<DeValue<'t>>, place: &Span, innermost: &mut (&'t DeTable<'t>, usize)) {
    match value.get_ref() {
        DeValue::Table(table) => {
            let start = value.span().start;
            if start < place.start && start >= innermost.1 {
                *innermost = (table, start);
            }
            enclosing(table, place, innermost);
        }
        DeValue::Array(array) => array.iter().for_each(|item| visit(item, place, innermost)),
        _ => {}
    }
}

/// The first of two equal `[headers]`; the document keeps only the second.
fn first_header(source: &Source, second: &Span) -> Option<Span> {
    let header = line_of(source, second).trim();
    let header = header.starts_with('[').then(|| header.split(']').next())??;
    let start = source.text()[..second.start].lines().find(|line| line.trim_start().starts_with(header))?;
    let at = start.as_ptr() as usize - source.text().as_ptr() as usize;
    let at = at + start.len() - start.trim_start().len();
    let is_other_line = source.position(at).line < source.position(second.start).line;
    is_other_line.then(|| at..at + header.len() + 1)
}

fn line_of<'s>(source: &'s Source, span: &Span) -> &'s str {
    let text = source.text();
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[span.start..].find('\n').map_or(text.len(), |at| span.start + at);
    &text[start..end]
}
