//! `[worker.config]` as the JSON value that a plugin gets, and where each part of it stands.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value};
use toml::de::DeValue;

use super::read_context::Span;
use super::value_node::ValueNode;

/// Keys whose name has one of these in it hold what must not be shown.
const SECRETS: [&str; 5] = ["password", "passwd", "secret", "token", "credential"];

/// Where the keys and values of a config stand, by JSON pointer (`/movies/0/title`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigSpans {
    values: BTreeMap<String, Range<usize>>,
    keys: BTreeMap<String, Range<usize>>,
}

impl ConfigSpans {
    /// Where the value at `pointer` stands.
    #[must_use]
    pub fn value(&self, pointer: &str) -> Option<Range<usize>> {
        self.values.get(pointer).cloned()
    }

    /// Where the key of the value at `pointer` stands.
    #[must_use]
    pub fn key(&self, pointer: &str) -> Option<Range<usize>> {
        self.keys.get(pointer).cloned()
    }
}

/// `pointer` and one more step, escaped as RFC 6901 has it.
pub(crate) fn join(pointer: &str, step: &str) -> String {
    format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"))
}

/// Reads a config table. What JSON has no way to say is reported.
pub(crate) fn read(node: &ValueNode<'_, '_>) -> Option<(Value, ConfigSpans)> {
    if !node.value.get_ref().is_table() {
        return node.expected("a table");
    }
    let mut spans = ConfigSpans::default();
    let value = value(node, String::new(), &mut spans)?;
    Some((value, spans))
}

fn value(node: &ValueNode<'_, '_>, pointer: String, spans: &mut ConfigSpans) -> Option<Value> {
    spans.values.insert(pointer.clone(), node.span());
    match node.value.get_ref() {
        DeValue::String(_) => {
            hide_if_secret(node);
            node.text()?.ok().map(|text| Value::String(text.into_owned()))
        }
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix()).ok();
            let json = number.and_then(|number| {
                i64::try_from(number).map(Value::from).or_else(|_| u64::try_from(number).map(Value::from)).ok()
            });
            json.or_else(|| node.expected("an integer of at most 64 bits"))
        }
        DeValue::Float(number) => {
            let number = number.as_str().parse().ok().and_then(serde_json::Number::from_f64);
            number.map(Value::Number).or_else(|| node.expected("a finite number"))
        }
        DeValue::Boolean(value) => Some(Value::Bool(*value)),
        DeValue::Datetime(date) => Some(Value::String(date.to_string())),
        DeValue::Array(array) => array_value(node, array, &pointer, spans),
        DeValue::Table(table) => table_value(node, table, &pointer, spans),
    }
}

// Both go on after a failure, so that each is reported.
fn array_value(
    node: &ValueNode<'_, '_>,
    array: &toml::de::DeArray<'_>,
    at: &str,
    spans: &mut ConfigSpans,
) -> Option<Value> {
    let items: Vec<Option<Value>> = array
        .iter()
        .enumerate()
        .map(|(index, item)| {
            value(&ValueNode { cx: node.cx, key: node.key, value: item }, format!("{at}/{index}"), spans)
        })
        .collect();
    items.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
}

fn table_value(
    node: &ValueNode<'_, '_>,
    table: &toml::de::DeTable<'_>,
    at: &str,
    spans: &mut ConfigSpans,
) -> Option<Value> {
    let items: Vec<Option<(String, Value)>> = table
        .iter()
        .map(|(key, item)| {
            let name = key.get_ref();
            let pointer = join(at, name);
            spans.keys.insert(pointer.clone(), key.span());
            value(&ValueNode { cx: node.cx, key: name, value: item }, pointer, spans)
                .map(|item| (name.to_string(), item))
        })
        .collect();
    items.into_iter().collect::<Option<Map<_, _>>>().map(Value::Object)
}

fn hide_if_secret(node: &ValueNode<'_, '_>) {
    let key = node.key.to_ascii_lowercase();
    let Span { start, end } = node.span();
    if SECRETS.iter().any(|secret| key.contains(secret)) && !node.is_filled_in() && end - start > 2 {
        node.cx.hide(start + 1..end - 1);
    }
}
