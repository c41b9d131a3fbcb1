//! Arrays of values of one kind.

use serde_json::{Value, json};
use toml::de::DeValue;

use crate::declaration::{ReadableKind, ValueKind};
use crate::value_node::ValueNode;

/// More than one worker needs.
const MAX_ENTRIES: usize = 64;

/// An array, and how each entry is read; what the entries are is said by a name in the plural.
pub(crate) struct ListKind<K> {
    /// The entries in words, in the plural.
    pub entries: &'static str,
    /// The kind of each entry.
    pub each: K,
}

impl<K: ValueKind> ValueKind for ListKind<K> {
    fn wording(&self) -> String {
        format!("array of at most {MAX_ENTRIES} {}", self.entries)
    }

    fn schema(&self) -> Value {
        json!({ "type": "array", "maxItems": MAX_ENTRIES, "items": self.each.schema() })
    }
}

impl<K: ReadableKind> ReadableKind for ListKind<K> {
    type Value = Vec<K::Value>;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<Vec<K::Value>> {
        let DeValue::Array(array) = node.value.get_ref() else { return node.expected("an array") };
        if array.len() > MAX_ENTRIES {
            return node.refuse(format!("there are more than {MAX_ENTRIES} entries"), "too many", None);
        }
        let each = array.iter().map(|value| self.each.read(&ValueNode { cx: node.cx, key: node.key, value }));
        Some(each.collect::<Vec<_>>().into_iter().flatten().collect())
    }
}
