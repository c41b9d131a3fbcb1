//! Identifiers: of plugins and their generations. Those that travel over the bus are from [`mshost_plugin_api`].

use std::fmt;
use std::sync::Arc;

pub use mshost_plugin_api::{Address, JobId, MAX_NAME_BYTES, WorkerId, WorkerRef, WorkerType};

/// The name of a plugin: `db` for the file `plugins/libdb.so`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct PluginName(Arc<str>);

impl PluginName {
    /// Takes a name as the topology writes it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name of the plugin in a file of this name, or `None` where it is not a plugin's file name:
    /// `libdb.so` and `db.so` are both `db`; dot files are none.
    #[must_use]
    pub fn of_file_name(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(".so")?;
        let stem = stem.strip_prefix("lib").filter(|rest| !rest.is_empty()).unwrap_or(stem);
        (!stem.is_empty() && !stem.starts_with('.')).then(|| Self::new(stem))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One loaded version of a plugin. Counts up over the life of the host, across plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct GenerationId(pub u64);

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
