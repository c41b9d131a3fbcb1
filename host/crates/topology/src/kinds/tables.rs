//! Tables whose keys are declared, and the one that belongs to a plugin.

use serde_json::{Value, json};

use crate::declaration::{ConfigSection, ValueKind};

/// A table.
pub(crate) struct TableKind(pub &'static ConfigSection);

impl ValueKind for TableKind {
    fn wording(&self) -> String {
        "table".to_owned()
    }

    fn schema(&self) -> Value {
        self.0.schema()
    }

    fn table(&self) -> Option<&'static ConfigSection> {
        Some(self.0)
    }
}

/// An array of tables, written as `[[worker]]`.
pub(crate) struct WorkersKind {
    /// The keys of each.
    pub section: &'static ConfigSection,
    /// The most of them.
    pub most: usize,
}

impl ValueKind for WorkersKind {
    fn wording(&self) -> String {
        format!("array of at most {} tables", self.most)
    }

    fn schema(&self) -> Value {
        json!({ "type": "array", "maxItems": self.most, "items": self.section.schema() })
    }

    fn table(&self) -> Option<&'static ConfigSection> {
        Some(self.section)
    }
}

/// The table that a plugin reads itself.
pub(crate) struct PluginConfigKind;

impl ValueKind for PluginConfigKind {
    fn wording(&self) -> String {
        "table, checked against the JSON Schema that the plugin exports".to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "type": "object" })
    }
}
