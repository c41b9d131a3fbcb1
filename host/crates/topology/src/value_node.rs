//! One value of a file: its text with the environment filled in, and the errors that can be said about it.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostics::Diagnostic;
use super::interpolation::{InterpolationErrorKind, interpolate};
use super::read_context::{ReadContext, Span};

/// One value of a file, with its key and the context to report to.
#[derive(Clone, Copy)]
pub(crate) struct ValueNode<'c, 'v> {
    pub cx: &'c ReadContext<'c>,
    pub key: &'v str,
    pub value: &'v Spanned<DeValue<'v>>,
}

impl<'c, 'v> ValueNode<'c, 'v> {
    pub fn span(&self) -> Span {
        self.value.span()
    }

    /// Reports that this value is not what is expected.
    pub fn expected<T>(&self, expected: &str) -> Option<T> {
        self.cx.report(self.mismatch(expected));
        None
    }

    /// As [`ValueNode::expected`], with advice.
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

    fn unfilled(&self, text: &str, part: &Span, kind: InterpolationErrorKind) -> Diagnostic {
        // The string's own bytes are found in the source unless escapes stand in it; then the whole of it is marked.
        let span = self.span();
        let raw = self.cx.source.text().get(span.clone()).unwrap_or_default();
        let place = match raw.find(text) {
            Some(at) => span.start + at + part.start..span.start + at + part.end,
            None => span,
        };
        match kind {
            InterpolationErrorKind::Unset(name) => {
                Diagnostic::error(format!("`{}`: the environment variable `{name}` is not set", self.key))
                    .at(place, "not set")
                    .help(format!("set it, or give a default: `${{{name}:-default}}`"))
            }
            InterpolationErrorKind::Unclosed => Diagnostic::error(format!("`{}`: a `${{` has no `}}`", self.key))
                .at(place, "opened here")
                .help("for the characters themselves write `$${`"),
            InterpolationErrorKind::Name(name) => {
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
