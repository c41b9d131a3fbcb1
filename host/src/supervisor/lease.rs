//! Who still needs a generation. When the last lease is dropped, the generation is retired: its threads are joined and its
//! library is closed. Nobody has to remember to.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mshost_core::ids::{GenerationId, PluginName};
use mshost_isolation::Version;
use mshost_plugin_host::{Generation, PluginInfo, ShadowCopy, Unload};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

const TARGET: &str = "mshost::plugin";

/// How long the threads of a generation may take to end once nobody needs it.
const RETIRE_LIMIT: Duration = Duration::from_secs(10);

/// A version of a plugin as it is loaded, or may be.
pub(super) struct Loaded {
    pub(super) id: GenerationId,
    pub(super) plugin: PluginName,
    /// What it says of itself.
    pub(super) info: PluginInfo,
    /// In the memory of the host; `None` where only processes of isolated workers run it.
    pub(super) generation: Option<Arc<Generation>>,
    /// For processes of isolated workers, where there are any.
    pub(super) copy: Option<Arc<ShadowCopy>>,
}

/// The right to run workers of a generation.
#[derive(Debug, Clone)]
pub(super) struct Lease(Arc<Held>);

struct Held {
    loaded: Loaded,
    // Never sent to: dropped with the last lease, which is the signal.
    _released: oneshot::Sender<()>,
}

impl Lease {
    /// The first lease of a generation. Its retirement runs on `retirements`.
    pub(super) fn new(loaded: Loaded, retirements: &TaskTracker) -> Self {
        let (released, all_released) = oneshot::channel();
        if let Some(generation) = &loaded.generation {
            retirements.spawn(retire(Arc::clone(generation), all_released));
        }
        Self(Arc::new(Held { loaded, _released: released }))
    }

    /// Its number.
    pub(super) fn id(&self) -> GenerationId {
        self.0.loaded.id
    }

    /// What it says of itself.
    pub(super) fn info(&self) -> &PluginInfo {
        &self.0.loaded.info
    }

    /// What workers on threads of the host run on; `None` where there are none.
    pub(super) fn generation(&self) -> Option<&Generation> {
        self.0.loaded.generation.as_deref()
    }

    /// What workers in processes of their own run; `None` where there are none.
    pub(super) fn version(&self) -> Option<Version> {
        let Loaded { id, plugin, copy, .. } = &self.0.loaded;
        Some(Version { generation: *id, plugin: plugin.clone(), copy: copy.clone()? })
    }

    /// See [`WeakLease`].
    pub(super) fn downgrade(&self) -> WeakLease {
        WeakLease(Arc::downgrade(&self.0))
    }
}

/// Knows whether a generation is still needed without being a need.
#[derive(Debug, Clone)]
pub(super) struct WeakLease(Weak<Held>);

impl WeakLease {
    /// The generation, while somebody needs it.
    pub(super) fn id(&self) -> Option<GenerationId> {
        self.0.upgrade().map(|held| held.loaded.id)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("generation", &self.loaded.id).finish_non_exhaustive()
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
