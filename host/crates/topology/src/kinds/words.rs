//! Switches, and words of which one is chosen.

use mshost_plugin_api::Codec;
use serde_json::{Value, json};
use toml::de::DeValue;

use super::json::{or_interpolated, quoted};
use super::names::text;
use crate::declaration::{DefaultKind, ReadableKind, ValueKind};
use crate::suggest;
use crate::value_node::ValueNode;

/// `true` or `false`.
pub(crate) struct BooleanKind;

impl ValueKind for BooleanKind {
    fn wording(&self) -> String {
        "`true` or `false`".to_owned()
    }

    fn schema(&self) -> Value {
        or_interpolated(json!({ "type": "boolean" }))
    }
}

impl ReadableKind for BooleanKind {
    type Value = bool;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<bool> {
        match node.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(_) if node.is_filled_in() => match text(node)?.as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => node.expected("`true` or `false`"),
            },
            DeValue::String(text) if text == "true" || text == "false" => {
                node.expected_help("`true` or `false`", "leave the quotes out")
            }
            _ => node.expected("`true` or `false`"),
        }
    }
}

impl DefaultKind for BooleanKind {
    type Constant = bool;

    fn literal(&self, constant: &bool) -> String {
        constant.to_string()
    }
}

/// One of a few words, each with what it means.
pub(crate) struct WordKind<T: 'static>(pub &'static [(&'static str, T)]);

impl<T> WordKind<T> {
    fn words(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(word, _)| *word)
    }
}

impl<T: Sync> ValueKind for WordKind<T> {
    fn wording(&self) -> String {
        suggest::any_of(self.words().map(quoted).collect::<Vec<_>>().iter().map(String::as_str))
    }

    fn schema(&self) -> Value {
        or_interpolated(json!({ "enum": self.words().collect::<Vec<_>>() }))
    }
}

impl<T: Copy + PartialEq + Sync + 'static> ReadableKind for WordKind<T> {
    type Value = T;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<T> {
        let what = suggest::any_of(self.words());
        let Some(text) = node.text() else { return node.expected(&what) };
        let text = text.ok()?;
        if let Some((_, value)) = self.0.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let help = suggest::nearest(&text, self.words()).map(|near| format!("did you mean `{near}`?"));
        node.refuse(format!("`{}`: expected {what}", node.key), format!("expected {what}"), help)
    }
}

impl<T: Copy + PartialEq + Sync + 'static> DefaultKind for WordKind<T> {
    type Constant = T;

    fn literal(&self, constant: &T) -> String {
        let word = self.0.iter().find(|(_, value)| value == constant).map_or("", |(word, _)| word);
        quoted(word)
    }
}

/// The name of a codec, in any case.
pub(crate) struct CodecKind;

impl ValueKind for CodecKind {
    fn wording(&self) -> String {
        "`\"msgpack\"`, `\"JSON\"` or `\"BSON\"`, in any case".to_owned()
    }

    fn schema(&self) -> Value {
        or_interpolated(json!({
            "type": "string",
            "pattern": "^([Mm][Ss][Gg]|[Mm][Ee][Ss][Ss][Aa][Gg][Ee])[Pp][Aa][Cc][Kk]$|^[Jj][Ss][Oo][Nn]$|^[Bb][Ss][Oo][Nn]$",
        }))
    }
}

impl ReadableKind for CodecKind {
    type Value = Codec;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<Codec> {
        const WHAT: &str = "\"msgpack\", \"JSON\" or \"BSON\"";
        let Some(text) = node.text() else { return node.expected(WHAT) };
        let text = text.ok()?;
        text.parse().map_or_else(
            |_| {
                let near = suggest::nearest(&text, Codec::ALL.map(Codec::name));
                let help = near.map(|near| format!("did you mean \"{near}\"?"));
                node.refuse(format!("`{}`: expected {WHAT}", node.key), "no such codec", help)
            },
            Some,
        )
    }
}

impl DefaultKind for CodecKind {
    type Constant = Codec;

    fn literal(&self, constant: &Codec) -> String {
        quoted(constant.name())
    }
}
