//! The parts that the JSON Schemas of several kinds share.

use serde_json::{Value, json};

/// The definitions that the schemas of kinds refer to.
pub(crate) fn schema_definitions() -> Value {
    json!({
        "interpolated": {
            "description": "A string that is filled in from the environment: ${VAR} or ${VAR:-default}.",
            "type": "string",
            "pattern": r"\$\{",
        },
        "duration": {
            "description": "Numbers with units, such as \"250ms\", \"2s\" or \"1m 30s\".",
            "type": "string",
            "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*[A-Za-zµ]+\s*)+$|\$\{",
        },
        "size": {
            "description": "A number with its unit: B, KiB, MiB, GiB, TiB (powers of 1,024) or kB, MB, GB, TB (powers of 1,000).",
            "type": "string",
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([KkMmGgTt][Ii]?)?[Bb]\s*$|\$\{",
        },
    })
}

/// `schema`, or a string that is filled in from the environment.
pub(super) fn or_interpolated(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "$ref": "#/$defs/interpolated" }] })
}

/// Text in quotes, as both TOML and JSON write it.
pub(super) fn quoted(text: impl Into<String>) -> String {
    Value::String(text.into()).to_string()
}
