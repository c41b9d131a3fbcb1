//! Settings of a [`Watcher`](super::Watcher).

use std::time::Duration;

/// The way in which changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WatchMode {
    /// By events of the kernel, and by a scan at intervals.
    #[default]
    Native,
    /// By scans only: for network file systems and some containers.
    Poll,
}

/// The timing of a watcher, and how it notices changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSettings {
    /// How changes are noticed.
    pub mode: WatchMode,
    /// For how long a file must not have changed before it is reported.
    pub quiet: Duration,
    /// After how long a change is reported even though others are still going on.
    pub max_wait: Duration,
    /// The interval between scans without an event.
    pub rescan: Duration,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            mode: WatchMode::Native,
            quiet: Duration::from_millis(200),
            max_wait: Duration::from_secs(2),
            rescan: Duration::from_secs(2),
        }
    }
}
