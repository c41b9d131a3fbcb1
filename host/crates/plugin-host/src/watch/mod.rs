//! Watcher of plugin files and the topology.
//!
//! An event of the kernel ([`change_hints`]) is only a reason to scan: truth is the difference between two scans of the files
//! ([`file_snapshot`]). So a lost event, a full event queue, a folder that did not exist yet or a file system without events
//! costs a little time and never a change. What a changed file *is*, the reader asks [`PluginFolder`]: same content,
//! nothing to do.

mod change_hints;
mod file_snapshot;
mod plugin_folder;
mod settings;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Instant, sleep_until};

use change_hints::ChangeHints;
use file_snapshot::FileSnapshot;
pub use file_snapshot::{FileStat, Roots};
pub use plugin_folder::{FileProblem, Fingerprint, FolderError, PluginFile, PluginFolder};
pub use settings::{WatchMode, WatchSettings};

/// Watcher of plugin folders and single files.
#[derive(Debug)]
pub struct Watcher {
    settings: WatchSettings,
    roots: Arc<Roots>,
    hints: ChangeHints,
    /// The state of the files that has been reported.
    seen: FileSnapshot,
    /// There while files may still be changing.
    window: Option<QuietWindow>,
    next_scan: Instant,
}

/// The time from the first hint of a change until the files have come to rest.
#[derive(Debug)]
struct QuietWindow {
    opened: Instant,
    last_hint: Instant,
    at_opening: FileSnapshot,
}

impl Watcher {
    /// Takes a first scan; changes from now on are reported. Make it before you first read the files, and none is missed.
    #[must_use]
    pub fn new(roots: Roots, settings: WatchSettings) -> Self {
        let roots = Arc::new(roots.absolute());
        let hints = ChangeHints::new(&roots, settings.mode);
        let seen = FileSnapshot::take(&roots);
        let next_scan = Instant::now() + settings.rescan;
        Self { settings, roots, hints, seen, window: None, next_scan }
    }

    /// How it watches.
    #[must_use]
    pub fn settings(&self) -> &WatchSettings {
        &self.settings
    }

    /// Watches something else from now on. What is new or gone by it is reported as changed.
    pub fn set_roots(&mut self, roots: Roots) {
        let roots = Arc::new(roots.absolute());
        if roots != self.roots {
            self.hints.aim(&roots);
            self.roots = roots;
            self.next_scan = Instant::now();
        }
    }

    /// Waits until files have changed and come to rest, and returns which: added, replaced, rewritten or removed. A file
    /// that is still being written is left for the next time. Cancel safe; changes between two calls are coalesced.
    pub async fn changed(&mut self) -> BTreeSet<PathBuf> {
        loop {
            self.wait_for_reason().await;
            self.wait_for_quiet().await;
            self.hints.renew();
            let now = self.scan().await;
            let settled = self.settle(now);
            if !settled.is_empty() {
                return settled;
            }
        }
    }

    /// Returns once there is a window.
    async fn wait_for_reason(&mut self) {
        while self.window.is_none() {
            let hinted = tokio::select! {
                () = self.hints.next() => true,
                () = sleep_until(self.next_scan) => false,
            };
            // If this wait is given up during the scan, the hint is gone: the next wait has to begin with a scan.
            self.next_scan = Instant::now();
            self.hints.renew();
            let now = self.scan().await;
            if hinted || now != self.seen {
                self.open(now);
            }
        }
    }

    async fn wait_for_quiet(&mut self) {
        let Some(window) = &mut self.window else { return };
        loop {
            let end = (window.last_hint + self.settings.quiet).min(window.opened + self.settings.max_wait);
            tokio::select! {
                // First: under a stream of hints the window has to end all the same.
                biased;
                () = sleep_until(end) => return,
                () = self.hints.next() => window.last_hint = Instant::now(),
            }
        }
    }

    /// Ends the window: takes over what has come to rest, and opens another for what has not.
    fn settle(&mut self, now: FileSnapshot) -> BTreeSet<PathBuf> {
        let Some(window) = self.window.take() else { return BTreeSet::new() };
        let clock = SystemTime::now();
        let at_rest = |path: &PathBuf| {
            window.at_opening.get(path) == now.get(path)
                || now.stat(path).is_some_and(|stat| stat.at_rest_for(clock) >= Some(self.settings.quiet))
        };
        let (settled, moving): (BTreeSet<_>, BTreeSet<_>) = now.difference(&self.seen).into_iter().partition(at_rest);
        for path in &settled {
            self.seen.take_over(path, &now);
        }
        if !moving.is_empty() {
            self.open(now);
        }
        settled
    }

    fn open(&mut self, at_opening: FileSnapshot) {
        let now = Instant::now();
        self.window = Some(QuietWindow { opened: now, last_hint: now, at_opening });
    }

    async fn scan(&mut self) -> FileSnapshot {
        let roots = Arc::clone(&self.roots);
        // A network file system may keep us waiting.
        let scan = tokio::task::spawn_blocking(move || FileSnapshot::take(&roots)).await;
        self.next_scan = Instant::now() + self.settings.rescan;
        scan.unwrap_or_else(|_| self.seen.clone())
    }
}

#[cfg(test)]
mod tests;
