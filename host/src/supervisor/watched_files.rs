//! The files that the host watches, and how.

use mshost_plugin_host::watch::{Roots, WatchMode, WatchSettings};
use mshost_topology::{Topology, Watch};

/// How files are to be watched.
pub(super) fn watch_settings(topology: &Topology) -> WatchSettings {
    let host = &topology.host;
    let mode = match host.watch {
        Watch::Native => WatchMode::Native,
        Watch::Poll => WatchMode::Poll,
    };
    let settings = WatchSettings::default();
    // A debounce that is longer than the default's patience is meant so.
    let max_wait = settings.max_wait.max(host.debounce.saturating_mul(2));
    WatchSettings { mode, quiet: host.debounce, max_wait, ..settings }
}

/// The files that a topology concerns: itself, what it names, and the plugins.
pub(super) fn roots(topology: &Topology) -> Roots {
    Roots { folders: [topology.host.plugins.clone()].into(), files: topology.files.iter().cloned().collect() }
}
