//! Who still needs a generation. When the last lease is dropped, the generation is retired: its threads are joined and its
//! library is closed. Nobody has to remember to.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::ids::GenerationId;
use crate::plugin::{Generation, Unload};

const TARGET: &str = "mshost::plugin";

/// How long the threads of a generation may take to end once nobody needs it.
const RETIRE_LIMIT: Duration = Duration::from_secs(10);

/// The right to run workers of a generation.
#[derive(Debug, Clone)]
pub(super) struct Lease(Arc<Held>);

struct Held {
    generation: Arc<Generation>,
    // Never sent to: dropped with the last lease, which is the signal.
    _released: oneshot::Sender<()>,
}

impl Lease {
    /// The first lease of a generation. Its retirement runs on `retirements`.
    pub(super) fn new(generation: Arc<Generation>, retirements: &TaskTracker) -> Self {
        let (released, all_released) = oneshot::channel();
        retirements.spawn(retire(Arc::clone(&generation), all_released));
        Self(Arc::new(Held { generation, _released: released }))
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
        self.0.upgrade().map(|held| held.generation.id())
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("generation", &self.generation.id()).finish_non_exhaustive()
    }
}

impl Deref for Lease {
    type Target = Generation;
    fn deref(&self) -> &Generation {
        &self.0.generation
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
