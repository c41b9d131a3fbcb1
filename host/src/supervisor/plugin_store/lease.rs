//! Leases of loaded plugins. A [`Lease`] is an `Arc` guard: dropping the last one retires the generation, which joins its threads
//! and closes its library.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mshost_core::ids::{GenerationId, PluginName};
use mshost_isolation::PluginVersion;
use mshost_plugin_host::{Generation, PluginInfo, ShadowCopy, Unload};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

const TARGET: &str = "mshost::plugin";

/// How long the threads of a generation may take to end once its last lease is dropped.
const RETIRE_LIMIT: Duration = Duration::from_secs(10);

/// A version of a plugin as it is loaded, or may be.
pub(crate) struct LoadedPlugin {
    pub(crate) id: GenerationId,
    pub(crate) plugin: PluginName,
    /// What it says of itself.
    pub(crate) info: PluginInfo,
    /// In the memory of the host; `None` where only processes of isolated workers run it.
    pub(crate) generation: Option<Arc<Generation>>,
    /// For processes of isolated workers, where there are any.
    pub(crate) copy: Option<Arc<ShadowCopy>>,
}

/// The right to run workers of a generation.
#[derive(Debug, Clone)]
pub(crate) struct Lease(Arc<LeaseInner>);

struct LeaseInner {
    loaded: LoadedPlugin,
    // Never sent to: dropped with the last lease, which is the signal.
    _released: oneshot::Sender<()>,
}

impl Lease {
    /// The first lease of a generation. Its retirement runs on `retirements`.
    pub(crate) fn new(loaded: LoadedPlugin, retirements: &TaskTracker) -> Self {
        let (released, all_released) = oneshot::channel();
        if let Some(generation) = &loaded.generation {
            retirements.spawn(retire(Arc::clone(generation), all_released));
        }
        Self(Arc::new(LeaseInner { loaded, _released: released }))
    }

    /// Its number.
    pub(crate) fn id(&self) -> GenerationId {
        self.0.loaded.id
    }

    /// What it says of itself.
    pub(crate) fn info(&self) -> &PluginInfo {
        &self.0.loaded.info
    }

    /// What workers on threads of the host run on; `None` where there are none.
    pub(crate) fn generation(&self) -> Option<&Generation> {
        self.0.loaded.generation.as_deref()
    }

    /// What workers in processes of their own run; `None` where there are none.
    pub(crate) fn version(&self) -> Option<PluginVersion> {
        let LoadedPlugin { id, plugin, copy, .. } = &self.0.loaded;
        Some(PluginVersion { generation: *id, plugin: plugin.clone(), copy: copy.clone()? })
    }

    /// See [`WeakLease`].
    pub(crate) fn downgrade(&self) -> WeakLease {
        WeakLease(Arc::downgrade(&self.0))
    }
}

/// Knows whether a generation is still leased, without leasing it.
#[derive(Debug, Clone)]
pub(crate) struct WeakLease(Weak<LeaseInner>);

impl WeakLease {
    /// The generation, while it is leased.
    pub(crate) fn id(&self) -> Option<GenerationId> {
        self.0.upgrade().map(|held| held.loaded.id)
    }
}

impl fmt::Debug for LeaseInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseInner").field("generation", &self.loaded.id).finish_non_exhaustive()
    }
}

async fn retire(generation: Arc<Generation>, all_released: oneshot::Receiver<()>) {
    let _ = all_released.await;
    let (id, plugin) = (generation.id(), generation.plugin().clone());
    let never = generation.info().unload == Unload::Never;
    let retired = generation.retire(RETIRE_LIMIT).await;
    let threads = retired.abandoned_threads;
    if retired.unmapped {
        tracing::info!(target: TARGET, %plugin, generation = %id, "unloaded");
    } else if never {
        tracing::info!(target: TARGET, %plugin, generation = %id, "left in memory, as it asks for (`unload: never`)");
    } else if threads > 0 {
        tracing::warn!(target: TARGET, %plugin, generation = %id, abandoned_threads = threads,
            "left in memory until the host ends: handlers that overran their time still run in it");
    } else {
        tracing::warn!(target: TARGET, %plugin, generation = %id,
            "left in memory until the host ends: a thread that it started itself still runs in it; end such threads in the worker's `stop`");
    }
}
