//! The layer that reads TOML tables key by key and goes on after an error, so that all errors are found.
//!
//! A *reader* is any `Fn(&Node) -> Option<T>`: it returns the value, or reports to the [`Context`] why there is none.
//! [`Fields`] applies readers to the keys of one table and, at its end, reports the keys that nobody asked for.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostics::{Diagnostic, Doubt, Severity};
use super::interpolate::{Env, FailureKind, interpolate};
use super::source::Source;
use super::suggest;

pub(super) type Span = Range<usize>;

/// More errors of one kind of a file are not kept: it is no topology at all.
pub(super) const MAX_FOUND: usize = 200;

/// A key of the file is quoted up to here: nobody needs more of it to find it.
const MAX_SHOWN_KEY: usize = 40;

/// What every reader needs, and where it reports to.
pub(super) struct Context<'a> {
    pub source: &'a Source,
    pub env: Env<'a>,
    found: RefCell<Vec<Diagnostic>>,
    secrets: RefCell<Vec<Span>>,
}

impl<'a> Context<'a> {
    pub fn new(source: &'a Source, env: Env<'a>) -> Self {
        Self { source, env, found: RefCell::default(), secrets: RefCell::default() }
    }

    pub fn report(&self, diagnostic: Diagnostic) {
        let mut found = self.found.borrow_mut();
        // Some values are read twice; what is wrong with them is said once.
        if found.len() < MAX_FOUND && !found.contains(&diagnostic) {
            found.push(diagnostic);
        }
    }

    /// Keeps the text of a value out of everything that is shown.
    pub fn hide(&self, span: Span) {
        self.secrets.borrow_mut().push(span);
    }

    pub fn into_found(self) -> (Vec<Diagnostic>, Vec<Span>) {
        (self.found.into_inner(), self.secrets.into_inner())
    }
}

/// One value, the key that it is the value of, and the context.
#[derive(Clone, Copy)]
pub(super) struct Node<'c, 'v> {
    pub cx: &'c Context<'c>,
    pub key: &'v str,
    pub value: &'v Spanned<DeValue<'v>>,
}

impl<'c, 'v> Node<'c, 'v> {
    pub fn span(&self) -> Span {
        self.value.span()
    }

    /// Reports that this value is not what is expected.
    pub fn expected<T>(&self, expected: &str) -> Option<T> {
        self.cx.report(self.mismatch(expected));
        None
    }

    /// As [`Node::expected`], with advice.
    pub fn expected_help<T>(&self, expected: &str, help: impl Into<String>) -> Option<T> {
        self.cx.report(self.mismatch(expected).help(help));
        None
    }

    fn mismatch(&self, expected: &str) -> Diagnostic {
        let found = found(self.value.get_ref());
        Diagnostic::error(format!("`{}`: expected {expected}, found {found}", self.key))
            .at(self.span(), format!("expected {expected}"))
    }

    /// Reports that this value, though of the right kind, cannot be used.
    pub fn refuse<T>(&self, message: impl Into<String>, label: impl Into<String>, help: Option<String>) -> Option<T> {
        let diagnostic = Diagnostic::error(message).at(self.span(), label);
        self.cx.report(help.into_iter().fold(diagnostic, Diagnostic::help));
        None
    }

    /// The text of a string, filled in from the environment; `None` for what is not a string, without a report.
    pub fn text(&self) -> Option<Result<Cow<'v, str>, ()>> {
        let DeValue::String(text) = self.value.get_ref() else { return None };
        Some(interpolate(text, self.cx.env).map_err(|failures| {
            for failure in failures {
                self.cx.report(self.unfilled(text, &failure.span, failure.kind));
            }
        }))
    }

    /// Whether the text comes from the environment, which has nothing but strings: then `"8"` may be a number.
    pub fn is_filled_in(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::String(text) if text.contains("${"))
    }

    fn unfilled(&self, text: &str, part: &Span, kind: FailureKind) -> Diagnostic {
        // The string's own bytes are found in the source unless escapes stand in it; then the whole of it is marked.
        let span = self.span();
        let raw = self.cx.source.text().get(span.clone()).unwrap_or_default();
        let place = match raw.find(text) {
            Some(at) => span.start + at + part.start..span.start + at + part.end,
            None => span,
        };
        match kind {
            FailureKind::Unset(name) => {
                Diagnostic::error(format!("`{}`: the environment variable `{name}` is not set", self.key))
                    .at(place, "not set")
                    .help(format!("set it, or give a default: `${{{name}:-default}}`"))
            }
            FailureKind::Unclosed => Diagnostic::error(format!("`{}`: a `${{` has no `}}`", self.key))
                .at(place, "opened here")
                .help("for the characters themselves write `$${`"),
            FailureKind::Name(name) => {
                Diagnostic::error(format!("`{}`: `{name}` is not the name of an environment variable", self.key))
                    .at(place, "letters, digits and `_`, not starting with a digit")
                    .help("for the characters themselves write `$${`")
            }
        }
    }
}

/// What a value is, for "found …". Strings are not quoted: they are in the line that is shown, or secret.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.is_empty() => "an empty string".to_owned(),
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(number) if number.as_str().len() <= 24 => format!("the integer {number}"),
        DeValue::Integer(_) => "a huge integer".to_owned(),
        DeValue::Float(_) => "a float".to_owned(),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The keys of one table.
pub(super) struct Fields<'c, 'v> {
    cx: &'c Context<'c>,
    /// As the user writes it: `[host]`, `[[worker]]`.
    what: &'static str,
    span: Span,
    entries: Vec<(&'v str, Span, &'v Spanned<DeValue<'v>>)>,
    known: Vec<&'static str>,
}

impl<'c, 'v> Fields<'c, 'v> {
    /// The keys of a table that is called `what`; reports where the value is none.
    pub fn of(node: &Node<'c, 'v>, what: &'static str) -> Option<Self> {
        match node.value.get_ref() {
            DeValue::Table(table) => Some(Self::of_table(node.cx, what, node.span(), table)),
            _ => node.expected("a table"),
        }
    }

    pub fn of_table(cx: &'c Context<'c>, what: &'static str, span: Span, table: &'v toml::de::DeTable<'v>) -> Self {
        let entries = table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
        Self { cx, what, span, entries, known: Vec::new() }
    }

    /// The value of a key, for one's own reading.
    pub fn node(&mut self, key: &'static str) -> Option<Node<'c, 'v>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let (key, _, value) = self.entries.iter().find(|(name, _, _)| *name == key)?;
        Some(Node { cx: self.cx, key, value })
    }

    /// The value of a key that may be left out.
    pub fn take<T>(&mut self, key: &'static str, reader: impl Fn(&Node<'c, 'v>) -> Option<T>) -> Option<T> {
        reader(&self.node(key)?)
    }

    /// As [`Fields::take`], with the value's place.
    pub fn spanned<T>(&mut self, key: &'static str, reader: impl Fn(&Node<'c, 'v>) -> Option<T>) -> Option<Spanned<T>> {
        let node = self.node(key)?;
        reader(&node).map(|value| Spanned::new(node.span(), value))
    }

    /// As [`Fields::spanned`], for a key that must be there.
    pub fn require<T>(
        &mut self,
        key: &'static str,
        help: &str,
        reader: impl Fn(&Node<'c, 'v>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        if !self.entries.iter().any(|(name, _, _)| *name == key) {
            let missing = Diagnostic::error(format!("`{key}` is missing in {}", self.what))
                .at(self.span.clone(), format!("has no `{key}`"))
                .help(help)
                .doubted(Doubt::Missing);
            self.cx.report(missing);
        }
        self.spanned(key, reader)
    }

    /// Reports each key that nobody asked for. `elsewhere` knows where a key belongs that is right in another table.
    pub fn finish(self, elsewhere: impl Fn(&str) -> Option<&'static str>) {
        self.finish_as(Severity::Error, elsewhere);
    }

    /// As [`Fields::finish`], for tables where such keys are no errors.
    pub fn finish_as(self, severity: Severity, elsewhere: impl Fn(&str) -> Option<&'static str>) {
        for (key, span, _) in &self.entries {
            if self.known.contains(key) {
                continue;
            }
            let shown: String = key.chars().take(MAX_SHOWN_KEY).collect();
            let unknown = Diagnostic::error(format!("unknown key `{shown}` in {}", self.what));
            let unknown = Diagnostic { severity, ..unknown }.doubted(Doubt::Misplaced);
            let near = suggest::nearest(key, self.known.iter().copied());
            let unknown = match near {
                Some(near) => unknown.at(span.clone(), format!("did you mean `{near}`?")),
                None => unknown.at(span.clone(), "unknown key"),
            };
            self.cx.report(match (elsewhere(key), near) {
                (Some(place), _) => unknown.help(format!("`{shown}` is a key of {place}")),
                (None, Some(_)) => unknown,
                (None, None) => {
                    unknown.help(format!("the keys here are {}", suggest::all_of(self.known.iter().copied())))
                }
            });
        }
    }
}
