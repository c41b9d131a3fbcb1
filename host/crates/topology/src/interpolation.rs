//! `${VAR}`, `${VAR:-default}` and `$$` in the topology's strings.

use std::borrow::Cow;
use std::ops::Range;

/// What the environment says.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a text cannot be filled in, and which bytes of it are to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InterpolationError {
    pub span: Range<usize>,
    pub kind: InterpolationErrorKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InterpolationErrorKind {
    /// The variable is not set and there is no default.
    Unset(String),
    /// A `${` without its `}`.
    Unclosed,
    /// What stands between the braces is not a variable's name.
    Name(String),
}

/// Fills in `text`: a `${VAR}` must be set; the default of `${VAR:-default}` is also taken where `VAR` is empty, as in a
/// shell. `$$` is `$`. A `$` before anything else is itself, so that regular expressions need no care.
pub(crate) fn interpolate<'t>(text: &'t str, env: Environment<'_>) -> Result<Cow<'t, str>, Vec<InterpolationError>> {
    if !text.contains('$') {
        return Ok(Cow::Borrowed(text));
    }
    let (mut out, mut failures, mut at) = (String::with_capacity(text.len()), Vec::new(), 0);
    while let Some(dollar) = text[at..].find('$').map(|offset| at + offset) {
        out.push_str(&text[at..dollar]);
        let rest = &text[dollar + 1..];
        at = if rest.starts_with('$') {
            out.push('$');
            dollar + 2
        } else if let Some(inner) = rest.strip_prefix('{') {
            let Some(len) = inner.find('}') else {
                failures.push(InterpolationError { span: dollar..text.len(), kind: InterpolationErrorKind::Unclosed });
                at = text.len();
                break;
            };
            let end = dollar + 2 + len + 1;
            match variable(&inner[..len], env) {
                Ok(value) => out.push_str(&value),
                Err(kind) => failures.push(InterpolationError { span: dollar..end, kind }),
            }
            end
        } else {
            out.push('$');
            dollar + 1
        };
    }
    out.push_str(&text[at..]);
    if failures.is_empty() { Ok(Cow::Owned(out)) } else { Err(failures) }
}

fn variable(inner: &str, env: Environment<'_>) -> Result<String, InterpolationErrorKind> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let first_is_digit = name.starts_with(|c: char| c.is_ascii_digit());
    if name.is_empty() || first_is_digit || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(InterpolationErrorKind::Name(name.to_owned()));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(InterpolationErrorKind::Unset(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("example".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_filled_in() {
        for (text, filled) in [
            ("plain", "plain"),
            ("${HOST}", "example"),
            ("a ${HOST} b ${HOST}", "a example b example"),
            ("${NONE:-x}", "x"),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${HOST:-x}", "example"),
            ("$${HOST} costs 5$", "${HOST} costs 5$"),
            ("^a$|$b", "^a$|$b"),
            ("€${HOST}€", "€example€"),
        ] {
            assert_eq!(interpolate(text, &env).as_deref(), Ok(filled), "{text}");
        }
    }

    #[test]
    fn every_failure_is_found_with_its_place() {
        let failure = |span, kind| InterpolationError { span, kind };
        assert_eq!(
            interpolate("ä${A}${1x} ${B", &env),
            Err(vec![
                failure(2..6, InterpolationErrorKind::Unset("A".into())),
                failure(6..11, InterpolationErrorKind::Name("1x".into())),
                failure(12..15, InterpolationErrorKind::Unclosed),
            ])
        );
    }
}
