//! An open library. All of the host's unsafe code is here.
//!
//! Whoever holds a [`Library`] or anything got from it is on a thread of its generation (see [`super::generation`]):
//! that is upheld there, and is what lets the library be closed.

#![allow(unsafe_code)] // the one module of the host that may: see each block's SAFETY

use std::fs;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use mshost_plugin_api::abi::{self, HEADER_SYMBOL, OpenError, PluginModuleRef};
use mshost_plugin_api::{Manifest, PanicStrategy};

use super::error::LoadFailure;
use super::{manifest, refusal};

/// A plugin's library, open and checked.
pub(super) struct Library {
    module: PluginModuleRef,
    manifest: Manifest,
    path: PathBuf,
    handle: Handle,
}

impl Library {
    /// Opens a private copy of a plugin file, checks that its ABI is ours, and asks it what it is. Blocks, and runs the
    /// library's constructors.
    pub(super) fn open(path: &Path) -> Result<Self, LoadFailure> {
        // SAFETY: runs the library's constructors, which nothing can make safe; the probe has run them in a child
        // process before. The file is a private copy that nobody writes to, so its pages stay what they are.
        // RTLD_NOW: a missing symbol is an error here and not a crash later. RTLD_LOCAL: two versions do not mix.
        let handle = unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| refusal::explain(&text_of(&error), path))?;
        // SAFETY: the symbol is only used as an address, of whatever type.
        let header =
            unsafe { handle.get::<*const ()>(HEADER_SYMBOL.as_bytes()) }.map_err(|_| LoadFailure::NotAPlugin)?;
        // SAFETY: it is that symbol's address, and `handle` outlives `module`: they are dropped together, and what
        // `init` returns is dropped before them (the field order of `generation::Loaded`).
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

    /// What the plugin says of itself.
    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The plugin's entry. What it gives must be dropped before the library is closed.
    pub(super) fn module(&self) -> PluginModuleRef {
        self.module
    }

    /// Unloads it. Whether it has left the memory: a thread-local of the library on a thread that still runs keeps it.
    pub(super) fn close(self) -> bool {
        let Self { path, handle, .. } = self;
        if let Err(error) = handle.close() {
            tracing::warn!(library = %path.display(), "dlclose: {error}");
        }
        !is_mapped(&path)
    }
}

/// Whether a copy is mapped into this process. Its file may be gone; its name is unique.
fn is_mapped(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Where the maps cannot be read, assume the worse.
    fs::read_to_string("/proc/self/maps").map_or(true, |maps| maps.lines().any(|line| line.contains(&*name)))
}

fn text_of(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
