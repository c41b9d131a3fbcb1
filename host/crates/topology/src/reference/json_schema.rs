//! The JSON Schema of `topology.toml`, for editors.

use serde_json::{Value, json};

use crate::keys::file;
use crate::kinds::schema_definitions;

/// The JSON Schema of `topology.toml`. It refuses unknown keys and values of the wrong kind; what depends on more than one key,
/// and ranges of durations and sizes, only the host checks.
#[must_use]
pub fn topology_schema() -> Value {
    let mut schema = file::SECTION.schema();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("topology.toml of mshost");
    schema["$defs"] = schema_definitions();
    schema
}
