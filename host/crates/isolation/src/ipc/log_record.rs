//! Log event of a child as it is written to its standard error.

use serde::{Deserialize, Serialize};

/// Prefix of a line that is a log event. Other lines were written by the plugin, or by the system.
pub(crate) const LOG_RECORD_PREFIX: char = '\u{1e}';

/// A log event, as JSON after the prefix.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    /// From 1 for an error to 5 for a trace.
    pub(crate) level: u8,
    pub(crate) target: String,
    pub(crate) message: String,
    pub(crate) fields: Vec<(String, String)>,
}
