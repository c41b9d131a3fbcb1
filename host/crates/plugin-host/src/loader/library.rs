//! An open plugin library, and all unsafe code of the host.
//!
//! A [`Library`], and anything got from it, is only ever used on a thread of its generation. [`crate::Generation`] upholds
//! that, and it is what lets the library be closed.

#![allow(unsafe_code)] // the one module of the host that may: see each block's SAFETY

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use mshost_plugin_api::abi::{self, HEADER_SYMBOL, OpenError, PluginModuleRef};
use mshost_plugin_api::{Manifest, PanicStrategy};

use super::load_error::LoadFailure;
use super::{linker_message, manifest};

/// An open plugin library whose ABI has been checked.
pub(crate) struct Library {
    module: PluginModuleRef,
    manifest: Manifest,
    path: PathBuf,
    handle: Handle,
}

impl Library {
    /// Opens a private copy of a plugin file, checks its ABI, and reads its manifest. Blocks, and runs the
    /// library's constructors.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadFailure> {
        // SAFETY: runs the library's constructors, which nothing can make safe; the probe has run them in a child
        // process before. The file is a private copy that no process writes to, so its pages stay what they are.
        // RTLD_NOW: a missing symbol is an error here and not a crash later. RTLD_LOCAL: two versions do not mix.
        let handle = unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| linker_message::explain(&text_of(&error), path))?;
        // SAFETY: the symbol is only used as an address, of whatever type.
        let header =
            unsafe { handle.get::<*const ()>(HEADER_SYMBOL.as_bytes()) }.map_err(|_| LoadFailure::NotAPlugin)?;
        // SAFETY: it is that symbol's address, and `handle` outlives `module`: they are dropped together, and what
        // `init` returns is dropped before them (the field order of `LoadedPlugin`).
        let module = unsafe { abi::open(header.into_raw().cast_const().cast()) }.map_err(|error| match error {
            OpenError::Layout { ours, theirs, difference } => LoadFailure::Abi { ours, theirs, difference },
            OpenError::Header(error) | OpenError::Constructor(error) => LoadFailure::Header(error),
        })?;
        let text = module.describe()().into_string();
        let manifest = manifest::read(&text).map_err(LoadFailure::Manifest)?;
        if manifest.panic == PanicStrategy::Abort {
            return Err(LoadFailure::PanicAbort);
        }
        Ok(Self { module, manifest, path: path.to_owned(), handle })
    }

    /// The manifest by which the plugin describes itself.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The plugin's root module. What it returns must be dropped before the library is closed.
    pub(crate) fn module(&self) -> PluginModuleRef {
        self.module
    }

    /// Unloads the library and deletes its [keys](ThreadKeys). `false` where it stays mapped: a thread-local of the library on a
    /// thread that still runs keeps it.
    pub(crate) fn close(self, keys: &ThreadKeys) -> bool {
        let Self { path, handle, .. } = self;
        if let Err(error) = handle.close() {
            tracing::warn!(target: "mshost::plugin", library = %path.display(), "dlclose: {error}");
        }
        let is_gone = !is_mapped(&path);
        if is_gone {
            keys.delete();
        }
        is_gone
    }
}

/// The pthread keys with which a library's own copy of Rust's `std` runs destructors at the end of threads. `std` creates one
/// when it first needs it and never deletes it; a process has 1,024, and `std` aborts where it gets none.
#[derive(Debug, Default)]
pub(crate) struct ThreadKeys(BTreeSet<libc::pthread_key_t>);

/// glibc's `PTHREAD_KEYS_MAX`.
const MAX_KEYS: libc::pthread_key_t = 1_024;

/// The value of `std`'s key on each thread whose destructors it is to run (`sys/thread_local/guard/key.rs`).
const REGISTERED: usize = 1;

impl ThreadKeys {
    /// Runs code of a library, on a thread that runs no other library's code, and finds the key that it has set there.
    pub(crate) fn during<R>(body: impl FnOnce() -> R) -> (R, Self) {
        thread_local!(static OURS: Box<()> = Box::default());
        // Has the host's own key set, so that it is not taken for the library's.
        OURS.with(|_| ());
        let before = Self::set_here();
        let result = body();
        (result, Self(&Self::set_here().0 - &before.0))
    }

    fn set_here() -> Self {
        let is_set = |key: &libc::pthread_key_t| {
            // SAFETY: reads a value of this thread; glibc gives null for a key that there is not.
            unsafe { libc::pthread_getspecific(*key) }.addr() == REGISTERED
        };
        Self((0..MAX_KEYS).filter(is_set).collect())
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    fn delete(&self) {
        for key in &self.0 {
            // SAFETY: the key is that of a library which has left the memory, so that no code uses it and no destructor of it can be called. It
            // is still that one: `std` deletes no key, so its number was not given to another (`during` finds no others).
            let _ = unsafe { libc::pthread_key_delete(*key) };
        }
    }
}

/// The number of pthread keys that this process has left. Takes none, not even for a moment: another thread may need it.
#[must_use]
pub fn free_thread_keys() -> usize {
    let is_free = |key: &libc::pthread_key_t| {
        // SAFETY: reads a value of this thread; glibc gives null for a key that there is not.
        let value = unsafe { libc::pthread_getspecific(*key) };
        // SAFETY: sets a value of this thread, to the null that it is. glibc answers EINVAL for a key that there is not.
        value.is_null() && unsafe { libc::pthread_setspecific(*key, value) } == libc::EINVAL
    };
    (0..MAX_KEYS).filter(is_free).count()
}

/// Whether the copy at `path` is mapped into this process. The file may be gone; its name is unique.
fn is_mapped(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Where the maps cannot be read, assume the worse.
    fs::read_to_string("/proc/self/maps").map_or(true, |maps| maps.lines().any(|line| line.contains(&*name)))
}

fn text_of(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
