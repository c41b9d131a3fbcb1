//! Private copy of a plugin file, from which the plugin is loaded. A mapped file must never change, since a write to it is a
//! SIGBUS; and the same path opened twice would be the same library.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::elf;
use super::load_error::{LoadError, LoadFailure};

/// The largest plugin file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A copy of a plugin file under a unique name, which no other process writes to. Dropping it unlinks the file; what is
/// mapped from it stays.
#[derive(Debug)]
pub struct ShadowCopy {
    original: PathBuf,
    path: PathBuf,
    // Locked while the copy is in use: an unlocked one was left by a host that died. `None` where another process owns the copy.
    lock: Option<File>,
}

impl ShadowCopy {
    /// Copies `file` to `STATE/shadow` and checks that it is a complete library for this machine. Blocks.
    ///
    /// # Errors
    /// Where it cannot be copied, or is no such library.
    pub fn make(file: &Path, state: &Path) -> Result<Self, LoadError> {
        Self::copy(file, state).map_err(|failure| failure.of(file))
    }

    fn copy(file: &Path, state: &Path) -> Result<Self, LoadFailure> {
        let open = |error: io::Error| LoadFailure::io("open it", &error);
        // Opening a pipe would wait for its other end.
        let mut options = OpenOptions::new();
        let mut source = options.read(true).custom_flags(libc::O_NONBLOCK).open(file).map_err(open)?;
        let metadata = source.metadata().map_err(open)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a directory" } else { "a special file" };
            return Err(LoadFailure::NotALibrary(what.to_owned()));
        }
        if metadata.len() > MAX_FILE_BYTES {
            let found = format!("a file of {} bytes (the limit is {MAX_FILE_BYTES})", metadata.len());
            return Err(LoadFailure::NotALibrary(found));
        }
        let folder = folder(state);
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let path = folder.join(format!("{name}.{}.{}.so", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        let store = |error: io::Error| LoadFailure::io(&format!("copy it to {}", path.display()), &error);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(store)?;
        let mut target =
            OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path).map_err(store)?;
        target.lock().map_err(store)?;
        // From here on a failure removes the copy.
        let copy =
            Self { original: file.to_owned(), path: path.clone(), lock: Some(target.try_clone().map_err(store)?) };
        io::copy(&mut io::Read::take(&mut source, MAX_FILE_BYTES), &mut target).map_err(store)?;
        elf::check(&mut target)?;
        Ok(copy)
    }

    /// A copy that another process has made and will remove.
    pub fn lent(original: PathBuf, path: PathBuf) -> Self {
        Self { original, path, lock: None }
    }

    /// The copy.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that it is a copy of.
    #[must_use]
    pub fn original(&self) -> &Path {
        &self.original
    }

    /// Removes the copies in `STATE/shadow` of hosts that have died, once at start. Returns how many it removed.
    pub fn remove_stale(state: &Path) -> usize {
        let Ok(entries) = fs::read_dir(folder(state)) else { return 0 };
        let stale = |path: &Path| File::open(path).is_ok_and(|file| file.try_lock().is_ok());
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "so") && stale(path))
            .filter(|path| fs::remove_file(path).is_ok())
            .count()
    }
}

impl Drop for ShadowCopy {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // It may have been removed already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn folder(state: &Path) -> PathBuf {
    state.join("shadow")
}
