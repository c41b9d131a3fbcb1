//! Whole numbers and fractions within a range.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};
use toml::de::DeValue;

use super::json::{or_interpolated, quoted};
use super::names::text;
use crate::declaration::{DefaultKind, ReadableKind, ValueKind};
use crate::value_node::ValueNode;

/// A whole number within a range.
pub(crate) struct IntegerKind<T>(pub RangeInclusive<T>);

impl<T: Display + Sync> ValueKind for IntegerKind<T> {
    fn wording(&self) -> String {
        format!("whole number from {} to {}", self.0.start(), self.0.end())
    }

    fn schema(&self) -> Value {
        let [low, high] = [self.0.start(), self.0.end()].map(|end| end.to_string().parse::<i64>().ok());
        or_interpolated(json!({ "type": "integer", "minimum": low, "maximum": high }))
    }
}

impl<T> ReadableKind for IntegerKind<T>
where
    T: TryFrom<i128> + PartialOrd + Display + Sync + 'static,
{
    type Value = T;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<T> {
        let what = || format!("a {}", self.wording());
        let number = match node.value.get_ref() {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(_) if node.is_filled_in() => text(node)?.trim().parse().ok(),
            DeValue::String(text) if text.trim().parse::<i128>().is_ok() => {
                return node.expected_help(&what(), "leave the quotes out");
            }
            _ => return node.expected(&what()),
        };
        match number.and_then(|number| T::try_from(number).ok()).filter(|number| self.0.contains(number)) {
            Some(number) => Some(number),
            None => node.expected(&what()),
        }
    }
}

impl<T> DefaultKind for IntegerKind<T>
where
    T: TryFrom<i128> + PartialOrd + Display + Sync + 'static,
{
    type Constant = T;

    fn literal(&self, constant: &T) -> String {
        constant.to_string()
    }
}

/// A number within a range.
pub(crate) struct NumberKind(pub RangeInclusive<f64>);

impl ValueKind for NumberKind {
    fn wording(&self) -> String {
        format!("number from {} to {}", self.0.start(), self.0.end())
    }

    fn schema(&self) -> Value {
        or_interpolated(json!({ "type": "number", "minimum": self.0.start(), "maximum": self.0.end() }))
    }
}

impl ReadableKind for NumberKind {
    type Value = f64;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<f64> {
        let number: Option<f64> = match node.value.get_ref() {
            DeValue::Integer(number) => i32::from_str_radix(number.as_str(), number.radix()).ok().map(f64::from),
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::String(_) if node.is_filled_in() => text(node)?.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| self.0.contains(number)).or_else(|| node.expected(&format!("a {}", self.wording())))
    }
}

impl DefaultKind for NumberKind {
    type Constant = f64;

    fn literal(&self, constant: &f64) -> String {
        constant.to_string()
    }
}

/// How many restarts there may be: a whole number up to a most, or `"off"` for any.
pub(crate) struct RestartLimitKind(pub u32);

impl ValueKind for RestartLimitKind {
    fn wording(&self) -> String {
        format!("whole number from 0 to {}, or `\"off\"`", self.0)
    }

    fn schema(&self) -> Value {
        or_interpolated(
            json!({ "anyOf": [{ "const": "off" }, { "type": "integer", "minimum": 0, "maximum": self.0 }] }),
        )
    }
}

impl ReadableKind for RestartLimitKind {
    type Value = Option<u32>;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<Option<u32>> {
        match node.text() {
            Some(Ok(text)) if text == "off" => Some(None),
            Some(Ok(_)) if !node.is_filled_in() => {
                node.expected_help(&format!("a whole number from 0 to {}", self.0), "write \"off\" for no limit")
            }
            _ => IntegerKind(0..=self.0).read(node).map(Some),
        }
    }
}

impl DefaultKind for RestartLimitKind {
    type Constant = Option<u32>;

    fn literal(&self, constant: &Option<u32>) -> String {
        constant.map_or_else(|| quoted("off"), |limit| limit.to_string())
    }
}

/// A keepalive in milliseconds, as MicroServices.js writes it; 0 is none.
pub(crate) struct KeepaliveMillisecondsKind;

/// The longest keepalive, a day: what is longer keeps no worker alive.
const MAX_KEEPALIVE_MILLISECONDS: u64 = 24 * 3600 * 1000;

impl KeepaliveMillisecondsKind {
    const NUMBER: IntegerKind<u64> = IntegerKind(0..=MAX_KEEPALIVE_MILLISECONDS);
}

impl ValueKind for KeepaliveMillisecondsKind {
    fn wording(&self) -> String {
        format!("{} (milliseconds; 0 is off)", Self::NUMBER.wording())
    }

    fn schema(&self) -> Value {
        Self::NUMBER.schema()
    }
}

impl ReadableKind for KeepaliveMillisecondsKind {
    type Value = Option<Duration>;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<Option<Duration>> {
        Self::NUMBER.read(node).map(|millis| (millis > 0).then(|| Duration::from_millis(millis)))
    }
}
