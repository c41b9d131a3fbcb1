//! The log target of the manager.

/// `tracing` target of all that the manager logs (`SystemManager_log`).
pub(crate) const LOG: &str = "mshost::manager";
