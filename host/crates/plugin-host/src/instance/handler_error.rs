//! Error of a call into a plugin.

use mshost_plugin_api::Retry;

/// A call into a plugin that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HandlerError {
    /// The message for the operator.
    pub message: String,
    /// Whether a retry can succeed.
    pub retry: Retry,
    /// Whether the plugin's code panicked; its state may be broken.
    pub panicked: bool,
}
