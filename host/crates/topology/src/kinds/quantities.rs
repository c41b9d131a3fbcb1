//! Durations and sizes, which are written with their units.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};
use toml::de::DeValue;

use super::json::quoted;
use crate::declaration::{DefaultKind, ReadableKind, ValueKind};
use crate::suggest;
use crate::units::{UnitError, format_size, parse_duration, parse_size};
use crate::value_node::ValueNode;

/// Longer durations are mistakes of the unit, and overflow what is computed from them.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// A duration with its unit, of a year at most.
pub(crate) enum DurationKind {
    /// Zero is a duration, too.
    FromZero,
    /// Zero is refused.
    Positive,
}

impl ValueKind for DurationKind {
    fn wording(&self) -> String {
        match self {
            Self::FromZero => "duration".to_owned(),
            Self::Positive => "duration longer than zero".to_owned(),
        }
    }

    fn schema(&self) -> Value {
        json!({ "$ref": "#/$defs/duration" })
    }
}

impl ReadableKind for DurationKind {
    type Value = Duration;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<Duration> {
        match (self, duration(node)?) {
            (Self::Positive, Duration::ZERO) => {
                node.refuse(format!("`{}` must be longer than zero", node.key), "is zero", None)
            }
            (_, duration) => Some(duration),
        }
    }
}

impl DefaultKind for DurationKind {
    type Constant = Duration;

    fn literal(&self, constant: &Duration) -> String {
        quoted(humantime::format_duration(*constant).to_string())
    }
}

/// A duration, or `"off"`; zero is off.
pub(crate) struct DurationOrOffKind;

impl ValueKind for DurationOrOffKind {
    fn wording(&self) -> String {
        "duration, or `\"off\"`".to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "anyOf": [{ "const": "off" }, { "$ref": "#/$defs/duration" }] })
    }
}

impl ReadableKind for DurationOrOffKind {
    type Value = Option<Duration>;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<Option<Duration>> {
        if matches!(node.text(), Some(Ok(text)) if text == "off") {
            return Some(None);
        }
        duration(node).map(|duration| (!duration.is_zero()).then_some(duration))
    }
}

impl DefaultKind for DurationOrOffKind {
    type Constant = Option<Duration>;

    fn literal(&self, constant: &Option<Duration>) -> String {
        constant.map_or_else(|| quoted("off"), |duration| DurationKind::FromZero.literal(&duration))
    }
}

fn duration(node: &ValueNode<'_, '_>) -> Option<Duration> {
    const WHAT: &str = "a duration with its unit, such as \"2s\" or \"250ms\"";
    let text = match (node.text(), node.value.get_ref()) {
        (Some(text), _) => text.ok()?,
        (None, DeValue::Integer(number)) if number.as_str().len() <= 12 => {
            let help = format!("write \"{number}s\" for seconds or \"{number}ms\" for milliseconds");
            return node.expected_help(WHAT, help);
        }
        _ => return node.expected(WHAT),
    };
    match parse_duration(&text) {
        Ok(duration) if duration <= MAX_DURATION => Some(duration),
        Ok(_) => node.refuse(format!("`{}` is longer than a year", node.key), "too long", None),
        Err(error) => unit_error(node, WHAT, &error, &["ms", "s", "m", "h", "d"]),
    }
}

/// A size in bytes with its unit, within a range.
pub(crate) struct SizeKind(pub RangeInclusive<u64>);

impl ValueKind for SizeKind {
    fn wording(&self) -> String {
        format!("size from {} to {}", format_size(*self.0.start()), format_size(*self.0.end()))
    }

    fn schema(&self) -> Value {
        json!({ "$ref": "#/$defs/size" })
    }
}

impl ReadableKind for SizeKind {
    type Value = u64;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<u64> {
        const WHAT: &str = "a size with its unit, such as \"64KiB\" or \"16MiB\"";
        let text = match (node.text(), node.value.get_ref()) {
            (Some(text), _) => text.ok()?,
            (None, DeValue::Integer(number)) if number.as_str().len() <= 12 => {
                return node.expected_help(WHAT, format!("write \"{number}B\" for bytes"));
            }
            _ => return node.expected(WHAT),
        };
        match parse_size(&text) {
            Ok(bytes) if self.0.contains(&bytes) => Some(bytes),
            Ok(_) => {
                let [low, high] = [*self.0.start(), *self.0.end()].map(format_size);
                node.refuse(format!("`{}` must be from {low} to {high}", node.key), "out of range", None)
            }
            Err(error) => unit_error(node, WHAT, &error, &["B", "KiB", "MiB", "GiB"]),
        }
    }
}

impl DefaultKind for SizeKind {
    type Constant = u64;

    fn literal(&self, constant: &u64) -> String {
        quoted(format_size(*constant))
    }
}

fn unit_error<T>(node: &ValueNode<'_, '_>, what: &str, error: &UnitError, units: &[&str]) -> Option<T> {
    let help = match error {
        UnitError::NoUnit | UnitError::UnknownUnit(_) => {
            Some(format!("the unit is {}", suggest::any_of(units.iter().copied())))
        }
        UnitError::NoNumber | UnitError::TooLarge | UnitError::Malformed => None,
    };
    node.refuse(format!("`{}`: expected {what}, but {error}", node.key), error.to_string(), help)
}
