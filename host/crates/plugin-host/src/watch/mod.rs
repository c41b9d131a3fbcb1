//! Notices that plugin files or the topology have changed.
//!
//! What the kernel says ([`hints`]) is only a reason to look: truth is the difference between two looks at the files
//! ([`snapshot`]). So a lost event, a full event queue, a folder that did not exist yet or a file system without events
//! costs a little time and never a change. What a changed file *is*, the reader asks [`PluginFolder`]: same content,
//! nothing to do.

mod hints;
mod scan;
mod snapshot;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use hints::Hints;
pub use scan::{FileProblem, Fingerprint, FolderError, PluginFile, PluginFolder};
use snapshot::Snapshot;
pub use snapshot::{Roots, Stat};

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WatchMode {
    /// By the kernel's events, and by looking now and then.
    #[default]
    Native,
    /// By looking only: for network file systems and some containers.
    Poll,
}

/// How a [`Watcher`] watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSettings {
    /// How changes are noticed.
    pub mode: WatchMode,
    /// For how long a file must not have changed before it is reported.
    pub quiet: Duration,
    /// After how long a change is reported even though others are still going on.
    pub max_wait: Duration,
    /// How often to look without having been told to.
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

/// Watches folders of plugins and single files.
#[derive(Debug)]
pub struct Watcher {
    settings: WatchSettings,
    roots: Arc<Roots>,
    hints: Hints,
    /// What the reader has been told of.
    seen: Snapshot,
    /// Something may be going on; it is being waited for its end.
    window: Option<Window>,
    next_look: Instant,
}

#[derive(Debug)]
struct Window {
    opened: Instant,
    last_hint: Instant,
    at_opening: Snapshot,
}

impl Watcher {
    /// Takes a first look; changes from now on are reported. Make it before you first read the files, and none is missed.
    #[must_use]
    pub fn new(roots: Roots, settings: WatchSettings) -> Self {
        let roots = Arc::new(roots.absolute());
        let hints = Hints::new(&roots, settings.mode);
        let seen = Snapshot::take(&roots);
        let next_look = Instant::now() + settings.rescan;
        Self { settings, roots, hints, seen, window: None, next_look }
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
            self.next_look = Instant::now();
        }
    }

    /// Waits until files have changed and come to rest, and returns which: added, replaced, rewritten or removed. A file
    /// that is still being written is left for the next time. Cancel safe; changes that nobody waits for are coalesced.
    pub async fn changed(&mut self) -> BTreeSet<PathBuf> {
        loop {
            self.wait_for_reason().await;
            self.wait_for_quiet().await;
            self.hints.renew();
            let now = self.look().await;
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
                () = sleep_until(self.next_look) => false,
            };
            // If this wait is given up during the look, the hint is gone: the next wait has to begin with a look.
            self.next_look = Instant::now();
            self.hints.renew();
            let now = self.look().await;
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
    fn settle(&mut self, now: Snapshot) -> BTreeSet<PathBuf> {
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

    fn open(&mut self, at_opening: Snapshot) {
        let now = Instant::now();
        self.window = Some(Window { opened: now, last_hint: now, at_opening });
    }

    async fn look(&mut self) -> Snapshot {
        let roots = Arc::clone(&self.roots);
        // A network file system may keep us waiting.
        let look = tokio::task::spawn_blocking(move || Snapshot::take(&roots)).await;
        self.next_look = Instant::now() + self.settings.rescan;
        look.unwrap_or_else(|_| self.seen.clone())
    }
}

#[cfg(test)]
mod tests;
