//! `[worker.config]` of the database worker.

use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// What the topology may say about this worker.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DbConfig {
    /// The SQLite file; made, with its folder, where it is missing. Relative to the host's working directory.
    pub path: PathBuf,
    /// The most movies in one answer; the next page is asked for with `after`.
    #[serde(default = "default_list_limit")]
    pub list_limit: NonZeroU32,
}

fn default_list_limit() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(999)
}
