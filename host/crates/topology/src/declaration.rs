//! How a key of the configuration is declared: once, with all that the reader, the reference and the JSON Schema need.

use serde_json::{Map, Value, json};

use super::value_node::ValueNode;

/// The kind of a key's value, as the reference and the JSON Schema show it.
pub(crate) trait ValueKind: Sync {
    /// The kind in words, as "whole number from 1 to 64".
    fn wording(&self) -> String;

    /// What a value must be by JSON Schema. It takes whatever the reader takes; ranges of durations and sizes are left to the
    /// reader, since a schema cannot compute with units.
    fn schema(&self) -> Value;

    /// The table that it is, where it is one whose keys are declared.
    fn table(&self) -> Option<&'static ConfigSection> {
        None
    }
}

/// A kind whose values are read in one step.
pub(crate) trait ReadableKind: ValueKind {
    /// What a value is once it is read.
    type Value;

    /// The value, or a report why there is none.
    fn read(&self, node: &ValueNode<'_, '_>) -> Option<Self::Value>;
}

/// A kind of which a default can be declared.
pub(crate) trait DefaultKind: ReadableKind {
    /// How a default is declared: as the value itself, unless that cannot be a constant.
    type Constant: Sync + 'static;

    /// A default as TOML that reads as this value; it is JSON, too.
    fn literal(&self, constant: &Self::Constant) -> String;
}

/// When a changed value takes effect in a host that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppliedWhen {
    /// As soon as the file is read.
    AtOnce,
    /// As soon as a worker with the new value has replaced the one that runs.
    ByReplacement,
    /// As soon as all workers have moved to the new bus; at a restart where old and new bus cannot be open at a time.
    ByBusMigration,
    /// When the host is started again.
    AtRestart,
    /// As each key of the table that it is says.
    PerKey,
}

/// One key of a table.
pub(crate) struct ConfigKey<K, P: Presence<K>> {
    /// As it is written.
    pub name: &'static str,
    /// Its table and name, for messages: `[host] name`.
    pub setting: &'static str,
    /// What it sets; the lines of a doc comment.
    pub doc: &'static [&'static str],
    pub kind: K,
    /// What holds where it is left out.
    pub default: P::Declared,
    pub applied: AppliedWhen,
}

/// What leaving out a key means.
pub(crate) trait Presence<K>: 'static {
    /// How it is declared.
    type Declared: Sync + 'static;

    fn describe(kind: &K, declared: &Self::Declared) -> KeyDefault;
}

/// The key has a default value.
pub(crate) struct HasDefault;

/// The key has no default value; the declaration says what then holds.
pub(crate) struct Optional;

/// The key cannot be left out; the declaration says what to write.
pub(crate) struct Required;

impl<K: DefaultKind> Presence<K> for HasDefault {
    type Declared = K::Constant;

    fn describe(kind: &K, declared: &K::Constant) -> KeyDefault {
        KeyDefault::Literal(kind.literal(declared))
    }
}

impl<K> Presence<K> for Optional {
    type Declared = &'static str;

    fn describe(_: &K, declared: &&'static str) -> KeyDefault {
        KeyDefault::Words(declared)
    }
}

impl<K> Presence<K> for Required {
    type Declared = &'static str;

    fn describe(_: &K, _: &&'static str) -> KeyDefault {
        KeyDefault::Required
    }
}

/// What holds where a key is left out, as the reference shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyDefault {
    /// This value, as TOML.
    Literal(String),
    /// What these words say.
    Words(&'static str),
    /// An error.
    Required,
}

/// A key of any kind.
pub(crate) trait DeclaredKey: Sync {
    fn name(&self) -> &'static str;
    fn setting(&self) -> &'static str;
    fn applied(&self) -> AppliedWhen;
    /// What it sets, as one line of text.
    fn doc(&self) -> String;
    fn kind(&self) -> &dyn ValueKind;
    fn default(&self) -> KeyDefault;
}

impl<K: ValueKind, P: Presence<K>> DeclaredKey for ConfigKey<K, P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn setting(&self) -> &'static str {
        self.setting
    }

    fn applied(&self) -> AppliedWhen {
        self.applied
    }

    fn doc(&self) -> String {
        self.doc.concat().trim().to_owned()
    }

    fn kind(&self) -> &dyn ValueKind {
        &self.kind
    }

    fn default(&self) -> KeyDefault {
        P::describe(&self.kind, &self.default)
    }
}

/// Where a table stands, and so what an unknown key in it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SectionRole {
    /// The file itself, or a table with a heading of its own: an unknown key is an error, and may belong into another.
    TopLevel,
    /// The value of a key: an unknown key is an error.
    Nested,
    /// The configuration of MicroServices.js, which may have keys that are not ours to know.
    Foreign,
}

/// One table and its keys.
pub(crate) struct ConfigSection {
    /// As messages name it: `[host]`, `[[worker]]`, `` `retry` ``.
    pub heading: &'static str,
    pub role: SectionRole,
    /// What it is about, in sentences for the reference.
    pub doc: &'static str,
    /// A piece of TOML that shows it.
    pub example: &'static str,
    /// Its keys in groups, since some groups belong to two tables; in the order in which they are shown.
    pub keys: &'static [&'static [&'static dyn DeclaredKey]],
}

impl ConfigSection {
    /// Every key, in the order in which they are shown.
    pub fn keys(&self) -> impl Iterator<Item = &'static dyn DeclaredKey> + use<> {
        self.keys.iter().copied().flatten().copied()
    }

    /// The tables that stand in this one.
    pub fn nested(&self) -> impl Iterator<Item = &'static ConfigSection> + use<> {
        self.keys().filter_map(|key| key.kind().table())
    }

    /// What a table must be by JSON Schema.
    pub fn schema(&self) -> Value {
        let mut properties = Map::new();
        for key in self.keys() {
            let mut schema = json!({ "description": key.doc() });
            if let KeyDefault::Literal(literal) = key.default() {
                schema["default"] = serde_json::from_str(&literal).unwrap_or_default();
            }
            merge(&mut schema, key.kind().schema());
            properties.insert(key.name().to_owned(), schema);
        }
        let required = self.keys().filter(|key| key.default() == KeyDefault::Required).map(DeclaredKey::name);
        let required: Vec<&str> = required.collect();
        json!({
            "type": "object",
            "additionalProperties": self.role == SectionRole::Foreign,
            "properties": properties,
            "required": required,
        })
    }
}

fn merge(schema: &mut Value, more: Value) {
    if let (Some(schema), Value::Object(more)) = (schema.as_object_mut(), more) {
        schema.extend(more);
    }
}

/// Declares keys, each with a doc comment that is its description in the reference, and the list of them.
macro_rules! keys {
    (
        $(#[doc = $about:literal])+
        $list:ident of $heading:literal;
        $(
            $(#[doc = $doc:literal])+
            $key:ident = $name:literal: $kind:ty = $value:expr, $presence:ident($default:expr), $applied:ident;
        )+
    ) => {
        $(
            $(#[doc = $doc])+
            pub(crate) static $key: $crate::declaration::ConfigKey<$kind, $crate::declaration::$presence> =
                $crate::declaration::ConfigKey {
                    name: $name,
                    setting: concat!($heading, " ", $name),
                    doc: &[$($doc),+],
                    kind: $value,
                    default: $default,
                    applied: $crate::declaration::AppliedWhen::$applied,
                };
        )+
        $(#[doc = $about])+
        pub(crate) const $list: &[&dyn $crate::declaration::DeclaredKey] = &[$(&$key),+];
    };
}

pub(crate) use keys;
