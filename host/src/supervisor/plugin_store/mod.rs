//! The plugins of the host: the files in the folder, the versions that are loaded from them, and who still uses those.
//!
//! [`PluginStore`](store::PluginStore) keeps a [`PluginEntry`](plugin_entry::PluginEntry) for each plugin. A file that is new is
//! copied, probed in a child process, and loaded if a worker needs it ([`plugin_loading`]). A loaded version is used by
//! [leases](lease): when the last is dropped it is unloaded. [`plugin_preview`] finds out what a reload would do without doing it.

pub(super) mod lease;
pub(super) mod plugin_entry;
mod plugin_loading;
pub(super) mod plugin_preview;
pub(super) mod store;
