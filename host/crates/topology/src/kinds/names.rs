//! Names and paths.

use std::path::PathBuf;

use mshost_core::ids::{PluginName, WorkerType};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};

use super::json::quoted;
use crate::declaration::{DefaultKind, ReadableKind, ValueKind};
use crate::value_node::ValueNode;

/// The longest plugin name: with `lib` and `.so` it must fit a file name.
const MAX_PLUGIN_NAME: usize = 200;

/// A string, filled in.
pub(crate) fn text(node: &ValueNode<'_, '_>) -> Option<String> {
    match node.text() {
        Some(text) => text.ok().map(String::from),
        None => node.expected("a string"),
    }
}

/// A path; one that is not absolute starts from the folder of the topology.
pub(crate) struct PathKind;

impl ValueKind for PathKind {
    fn wording(&self) -> String {
        "path".to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl ReadableKind for PathKind {
    type Value = PathBuf;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<PathBuf> {
        match text(node)? {
            text if text.is_empty() => node.expected("a path"),
            text => Some(node.cx.folder.join(text)),
        }
    }
}

impl DefaultKind for PathKind {
    type Constant = &'static str;

    fn literal(&self, constant: &&'static str) -> String {
        quoted(*constant)
    }
}

/// A path that starts from the folder the host was started in.
pub(crate) struct WorkingPathKind;

impl ValueKind for WorkingPathKind {
    fn wording(&self) -> String {
        "path".to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string" })
    }
}

impl ReadableKind for WorkingPathKind {
    type Value = PathBuf;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<PathBuf> {
        text(node).map(PathBuf::from)
    }
}

/// What a host calls itself.
pub(crate) struct HostNameKind;

impl ValueKind for HostNameKind {
    fn wording(&self) -> String {
        "name of 1 to 255 bytes".to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": 255 })
    }
}

impl ReadableKind for HostNameKind {
    type Value = String;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<String> {
        let name = text(node)?;
        if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
            return node.expected("a name of 1 to 255 bytes without control characters");
        }
        Some(name)
    }
}

/// The name in a broker's certificate.
pub(crate) struct ServerNameKind;

impl ValueKind for ServerNameKind {
    fn wording(&self) -> String {
        "host name or IP address".to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl ReadableKind for ServerNameKind {
    type Value = String;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<String> {
        let name = text(node)?;
        if ServerName::try_from(name.as_str()).is_err() {
            return node.expected("a host name or an IP address");
        }
        Some(name)
    }
}

/// A type of jobs, such as `WB`.
pub(crate) struct WorkerTypeKind;

impl ValueKind for WorkerTypeKind {
    fn wording(&self) -> String {
        "worker type, such as `\"WB\"`".to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl ReadableKind for WorkerTypeKind {
    type Value = WorkerType;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<WorkerType> {
        let text = text(node)?;
        let help = text.strip_suffix(":*").map(|kind| format!("the `:*` belongs into addresses; write \"{kind}\""));
        WorkerType::new(&text)
            .map_or_else(|error| node.refuse(format!("`type`: {error}"), "not a worker type", help), Some)
    }
}

/// The name of a plugin: that of its file without `lib` and `.so`.
pub(crate) struct PluginNameKind;

impl ValueKind for PluginNameKind {
    fn wording(&self) -> String {
        "plugin name, such as `\"db\"` for `libdb.so`".to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": MAX_PLUGIN_NAME })
    }
}

impl ReadableKind for PluginNameKind {
    type Value = PluginName;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<PluginName> {
        let text = text(node)?;
        let fits = !text.is_empty()
            && text.len() <= MAX_PLUGIN_NAME
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
            && !text.starts_with('.');
        let file = text.rsplit('/').next().unwrap_or_default();
        match (PluginName::of_file_name(file), fits) {
            (Some(name), _) => node.refuse(
                "`plugin` is a name, not a file",
                "not a name",
                Some(format!("write \"{name}\"; the folder is `plugins` in [host]")),
            ),
            (None, true) => Some(PluginName::new(&text)),
            (None, false) => node.refuse(
                format!(
                    "`plugin`: a name has 1 to {MAX_PLUGIN_NAME} letters, digits, `_`, `-` or `.`, and no `.` at its start"
                ),
                "not a plugin's name",
                None,
            ),
        }
    }
}
