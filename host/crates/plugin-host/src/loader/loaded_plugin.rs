//! An initialised plugin and its library: how it is opened, and how it is closed in the order that makes that safe.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mshost_core::ids::PluginName;
use mshost_core::metrics::Metrics;
use mshost_plugin_api::abi::{HostObject, PluginObject, RResult, TD_Opaque};
use mshost_plugin_api::{Manifest, Unload};

use super::library::{Library, ThreadKeys};
use super::load_error::LoadFailure;
use super::shadow_copy::ShadowCopy;
use crate::panic_site::{PanicSite, call_plugin};
use crate::plugin_log::PluginLog;

/// An initialised plugin and its library. Field order is drop order: what the library made goes before the library.
pub(crate) struct LoadedPlugin {
    plugin: PluginObject,
    /// The keys that its `init` has set.
    keys: ThreadKeys,
    library: Library,
}

impl LoadedPlugin {
    pub(crate) fn plugin(&self) -> &PluginObject {
        &self.plugin
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        self.library.manifest()
    }

    /// Opens and initialises a library. To be called on a thread of its generation.
    pub(crate) fn open(
        shadow: Arc<ShadowCopy>,
        plugin: &PluginName,
        metrics: Arc<Metrics>,
    ) -> Result<Self, LoadFailure> {
        let library = Library::open(shadow.path())?;
        // The mapping stays; the file is of use to processes of isolated workers only.
        drop(shadow);
        let host =
            HostObject::from_value(PluginLog { plugin: plugin.clone(), metrics: Arc::clone(&metrics) }, TD_Opaque);
        let ((initialised, _), keys) =
            ThreadKeys::during(|| call_plugin(PanicSite::Load, || library.module().init()(host)));
        match initialised {
            RResult::ROk(plugin) => Ok(Self { plugin, keys, library }),
            RResult::RErr(error) => {
                let message = error.as_str().to_owned();
                drop(error);
                if !library.close(&keys) {
                    metrics.still_mapped.inc();
                }
                Err(LoadFailure::Init(message))
            }
        }
    }

    /// Ends the plugin's own threads, and unloads it where they have ended and its manifest allows that. `false` where the
    /// library stays mapped. `keys` are those of other threads that have run its code.
    pub(crate) fn close(self, limit: Duration, mut keys: ThreadKeys) -> bool {
        // At least a moment: a limit of nothing would leave threads that are about to end.
        let limit = limit.max(Duration::from_millis(200));
        // On a thread of its own, since this is the plugin's code again: its thread-locals would pin the library to this one.
        let ending = thread::Builder::new()
            .name("plugin-end".to_owned())
            .spawn(move || ThreadKeys::during(|| self.shut_down(limit)));
        match ending.map(thread::JoinHandle::join) {
            Ok(Ok((Some((library, first)), own))) => {
                keys.extend(first);
                keys.extend(own);
                library.close(&keys)
            }
            Ok(Ok((None, _))) => false,
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(target: "mshost::plugin", "a plugin could not be ended");
                false
            }
        }
    }

    /// Ends and drops everything of the plugin but its library, which is returned, with the keys of its `init`, where it may be
    /// closed.
    fn shut_down(self, limit: Duration) -> Option<(Library, ThreadKeys)> {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let (ended, _) = call_plugin(PanicSite::Unload, || self.plugin.shutdown(limit));
        if !ended || self.manifest().unload == Unload::Never {
            // For as long as the host runs: its code is in use, or may be.
            std::mem::forget(self);
            return None;
        }
        let Self { plugin, keys, library } = self;
        call_plugin(PanicSite::Unload, || drop(plugin));
        Some((library, keys))
    }
}
