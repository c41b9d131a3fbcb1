//! Events of the kernel, reduced to hints that a scan is due.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mshost_core::ids::PluginName;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::file_snapshot::Roots;
use super::settings::WatchMode;

/// Receiver of hints that something may have changed. Never the only source of truth: see the module above.
#[derive(Debug)]
pub(super) struct ChangeHints {
    /// `None` where there are only scans at intervals.
    watcher: Option<RecommendedWatcher>,
    /// The folders that the kernel watches for us, each with its device and inode.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    shared: Arc<HintSender>,
    /// Capacity 1: any number of events is one hint.
    heard: mpsc::Receiver<()>,
}

#[derive(Debug)]
struct HintSender {
    interest: RwLock<WatchedPaths>,
    /// A watched folder may be gone, and the kernel's watch with it, even if one of the same name and inode is there.
    watches_lost: AtomicBool,
    hint: mpsc::Sender<()>,
}

impl ChangeHints {
    pub(super) fn new(roots: &Roots, mode: WatchMode) -> Self {
        let (hint, heard) = mpsc::channel(1);
        let interest = RwLock::new(WatchedPaths::in_(roots));
        let shared = Arc::new(HintSender { interest, watches_lost: AtomicBool::new(false), hint });
        let watcher = match mode {
            WatchMode::Poll => None,
            WatchMode::Native => native(Arc::clone(&shared)),
        };
        let mut hints = Self { watcher, watched: BTreeMap::new(), shared, heard };
        hints.renew();
        hints
    }

    /// Waits for the next hint; for ever where there are none. Cancel safe.
    pub(super) async fn next(&mut self) {
        if self.heard.recv().await.is_none() {
            // The sender lives as long as `self.shared`.
            std::future::pending::<()>().await;
        }
    }

    /// Listens for other files.
    pub(super) fn aim(&mut self, roots: &Roots) {
        *self.shared.interest.write() = WatchedPaths::in_(roots);
        self.renew();
    }

    /// Watches folders that have appeared, or have been replaced by others of the same name. Look only after it: what
    /// happened before a watch was there has made no event.
    pub(super) fn renew(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted = self.shared.interest.read().folders_to_watch();
        let all_lost = self.shared.watches_lost.swap(false, Ordering::AcqRel);
        self.watched.retain(|path, identity| {
            let keep = !all_lost && wanted.get(path) == Some(identity);
            if !keep {
                // It fails where the kernel has dropped the watch with its folder.
                let _ = watcher.unwatch(path);
            }
            keep
        });
        for (path, identity) in wanted {
            if self.watched.contains_key(&path) {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, identity);
                }
                // The next look tries again, and finds the changes itself.
                Err(error) => {
                    debug!(target: "mshost::plugin", path = %path.display(), %error, "cannot watch this folder");
                }
            }
        }
    }
}

fn native(shared: Arc<HintSender>) -> Option<RecommendedWatcher> {
    match notify::recommended_watcher(move |event| shared.heard(event)) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            warn!(target: "mshost::plugin", %error, "the system gives no file events; changes are found by looking at intervals");
            None
        }
    }
}

impl HintSender {
    /// Called on notify's thread.
    fn heard(&self, event: notify::Result<Event>) {
        let (relevant, lost) = match &event {
            Ok(event) if event.need_rescan() => (true, true),
            Ok(event) => self.interest.read().concerns(event),
            Err(_) => (true, true),
        };
        if lost {
            self.watches_lost.store(true, Ordering::Release);
        }
        if relevant {
            // Full: the hint is given already.
            let _ = self.hint.try_send(());
        }
    }
}

/// The paths whose events matter.
#[derive(Debug)]
struct WatchedPaths {
    folders: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    /// The folders that files are in.
    around: BTreeSet<PathBuf>,
    /// Every folder on the way to those above, these included: a link or a rename there changes everything below.
    above: BTreeSet<PathBuf>,
}

impl WatchedPaths {
    fn in_(roots: &Roots) -> Self {
        let around: BTreeSet<_> = roots.files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        let above = roots.folders.iter().chain(&around).flat_map(|folder| folder.ancestors()).map(Path::to_owned);
        Self { above: above.collect(), folders: roots.folders.clone(), files: roots.files.clone(), around }
    }

    /// Whether an event is a reason to scan, and whether it may have ended a watch.
    fn concerns(&self, event: &Event) -> (bool, bool) {
        if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
            // Reading, which we do ourselves.
            return (false, false);
        }
        let moved =
            matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Create(_));
        let lost = moved && event.paths.iter().any(|path| self.above.contains(path));
        (lost || event.paths.iter().any(|path| self.is_relevant(path)), lost)
    }

    fn is_relevant(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return true };
        let folder = path.parent().unwrap_or(path);
        self.files.contains(path)
            || (self.folders.contains(folder) && PluginName::of_file_name(name).is_some())
            // A ConfigMap's `..data`: what the files in its folder lead through.
            || (name.starts_with("..") && (self.around.contains(folder) || self.folders.contains(folder)))
    }

    /// Each folder that is there, and the nearest one above it that is, with device and inode.
    fn folders_to_watch(&self) -> BTreeMap<PathBuf, (u64, u64)> {
        let identity = |folder: &Path| {
            let meta = fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
            Some((folder.to_owned(), (meta.dev(), meta.ino())))
        };
        let each = self.folders.iter().chain(&self.around);
        each.flat_map(|folder| [identity(folder), folder.ancestors().skip(1).find_map(identity)].into_iter().flatten())
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt;
    use notify::event::Flag;

    use super::*;

    /// What inotify says when its queue was full (`IN_Q_OVERFLOW`), and what it says when it fails: anything may have happened,
    /// a watched folder may be another by now.
    #[tokio::test]
    async fn events_that_were_lost_are_a_reason_to_look_and_to_watch_anew() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { folders: [dir.path().to_owned()].into(), files: BTreeSet::new() };
        let mut hints = ChangeHints::new(&roots, WatchMode::Native);
        let overflow = || Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan));
        let failure = || Err(notify::Error::generic("no more"));
        for lost in [overflow(), failure()] {
            assert!(hints.next().now_or_never().is_none());
            hints.shared.heard(lost);
            assert!(hints.next().now_or_never().is_some(), "a hint");
            assert!(hints.shared.watches_lost.load(Ordering::Acquire));
            hints.renew();
            assert!(!hints.shared.watches_lost.load(Ordering::Acquire) && !hints.watched.is_empty());
        }
        hints.shared.heard(Ok(Event::new(EventKind::Other)));
        assert!(hints.next().now_or_never().is_none(), "of no file at all");
    }
}
