//! The buses of a host: the one that workers live on, and while they move those that they leave.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use mshost_bus::BusError;
use mshost_core::ids::WorkerType;
use mshost_core::metrics::Metrics;
use mshost_topology::{BusConfig, Topology};
use mshost_worker::Expected;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use super::side::Side;
use super::unfinished::Unfinished;

/// See the module.
pub(super) struct Sides {
    all: RwLock<All>,
    /// Held while links are made or cut.
    linking: tokio::sync::Mutex<()>,
    /// Who is about to be there, on whichever side.
    expected: Expected,
    /// What the topology has workers of.
    types: Mutex<BTreeSet<WorkerType>>,
    /// Journals that are being left.
    pub(super) unfinished: Unfinished,
    /// Ends every move at once: the host shuts down.
    pub(super) hurry: CancellationToken,
    metrics: Arc<Metrics>,
}

struct All {
    /// Where workers live, or move to.
    current: Arc<Side>,
    /// Those that are being left, the latest last.
    left: Vec<Left>,
}

struct Left {
    side: Arc<Side>,
    /// Its workers leave it: nobody comes back.
    for_good: bool,
}

impl Sides {
    /// Opens the first.
    ///
    /// # Errors
    /// Where its bus can never be used.
    pub(super) fn open(topology: &Topology, metrics: &Arc<Metrics>) -> Result<Arc<Self>, BusError> {
        let expected = Expected::default();
        let current = Arc::new(Side::open(topology, expected.clone(), metrics)?);
        let all = RwLock::new(All { current, left: Vec::new() });
        let unfinished = Unfinished::new(&topology.host.state);
        let types = topology.workers.iter().map(|worker| worker.worker_type.clone()).collect();
        let (linking, types, hurry) = (tokio::sync::Mutex::default(), Mutex::new(types), CancellationToken::new());
        Ok(Arc::new(Self { all, linking, expected, types, unfinished, hurry, metrics: Arc::clone(metrics) }))
    }

    /// Opens another bus, which nobody is on yet.
    ///
    /// # Errors
    /// Where it can never be used.
    pub(super) fn prepare(&self, topology: &Topology) -> Result<Arc<Side>, BusError> {
        let side = Side::open(topology, self.expected.clone(), &self.metrics)?;
        side.surroundings.registry.show(false);
        Ok(Arc::new(side))
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(super) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// The topology has workers of these types.
    pub(super) fn serve(&self, types: BTreeSet<WorkerType>) {
        *self.types.lock() = types;
    }

    /// Whether it has workers of this one, running or not.
    pub(super) fn serves(&self, kind: &WorkerType) -> bool {
        self.types.lock().contains(kind)
    }

    /// Where workers live, or move to.
    pub(super) fn current(&self) -> Arc<Side> {
        Arc::clone(&self.all.read().current)
    }

    /// Those that workers are leaving.
    pub(super) fn left(&self) -> Vec<Arc<Side>> {
        self.all.read().left.iter().map(|left| Arc::clone(&left.side)).collect()
    }

    /// From now on workers move to this one. Gives the side that they leave. Called by one task alone.
    pub(super) async fn move_to(&self, side: Arc<Side>) -> Arc<Side> {
        let _linking = self.linking.lock().await;
        let all: Vec<_> = {
            let all = self.all.read();
            let left = all.left.iter().map(|left| (Arc::clone(&left.side), left.for_good));
            left.chain([(Arc::clone(&all.current), false)]).collect()
        };
        for (other, for_good) in all {
            other.link(&side).await;
            if !for_good {
                side.link(&other).await;
            }
        }
        self.all.write().make_current(side)
    }

    /// A side that workers of an earlier host have left, with what they left there.
    pub(super) fn take_on(&self, side: Arc<Side>) {
        self.all.write().left.push(Left { side, for_good: true });
    }

    /// Workers move back to a side that not all of them have left yet, where there is one of this configuration. Gives the side
    /// that they leave now.
    pub(super) fn turn_back(&self, config: &BusConfig) -> Option<Arc<Side>> {
        let mut all = self.all.write();
        let place = all.left.iter().position(|left| !left.for_good && left.side.config == *config)?;
        let side = all.left.remove(place).side;
        side.come_back();
        Some(all.make_current(side))
    }

    /// All slots are elsewhere. `false` where workers have moved back meanwhile.
    pub(super) fn is_left_for_good(&self, side: &Arc<Side>) -> bool {
        let mut all = self.all.write();
        let Some(left) = all.left.iter_mut().find(|left| Arc::ptr_eq(&left.side, side)) else { return false };
        left.for_good = true;
        true
    }

    /// Nobody sends there any more.
    pub(super) async fn cut_off(&self, side: &Arc<Side>) {
        let _linking = self.linking.lock().await;
        let others = self.left().into_iter().chain([self.current()]).filter(|other| !Arc::ptr_eq(other, side));
        join_all(others.map(|other| async move { other.cut(side).await })).await;
    }

    /// Nobody and nothing is there any more.
    pub(super) fn remove(&self, side: &Arc<Side>) {
        let mut all = self.all.write();
        all.left.retain(|left| !Arc::ptr_eq(&left.side, side));
        for other in all.left.iter().map(|left| &left.side).chain([&all.current]) {
            other.unlink(side);
        }
    }

    /// Has all workers finish what they have begun by themselves.
    pub(super) async fn wind_down(&self) {
        let all = self.left().into_iter().chain([self.current()]);
        join_all(all.map(|side| async move { side.surroundings.closing.close().await })).await;
    }

    /// Closes every bus.
    pub(super) async fn close(&self) {
        for side in self.left().into_iter().chain([self.current()]) {
            side.close().await;
        }
    }
}

impl All {
    /// Gives the one before.
    fn make_current(&mut self, side: Arc<Side>) -> Arc<Side> {
        let old = std::mem::replace(&mut self.current, side);
        old.depart();
        old.surroundings.registry.show(false);
        self.current.surroundings.registry.show(true);
        self.left.push(Left { side: Arc::clone(&old), for_good: false });
        old
    }
}
