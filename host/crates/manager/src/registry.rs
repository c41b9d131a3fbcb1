//! The registry: which workers are on the bus, and which have left it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use mshost_bus::Announcement;
use mshost_core::ids::{Address, WorkerId, WorkerRef, WorkerType};
use mshost_core::metrics::Metrics;
use mshost_core::status::Timestamp;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::Instant;

use super::departed_workers::DepartedWorkers;

/// A worker that is on the bus.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KnownWorker {
    /// Its type and id.
    pub worker: WorkerRef,
    /// The name of the mshost that runs it; `None` for a worker of MicroServices.js.
    pub host: Option<String>,
    /// When it was first heard of.
    pub since: Timestamp,
}

/// The result of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// It was not known before.
    New,
    /// It was; now it has been heard again.
    Again,
    /// There is no room (`manager.max_workers`).
    Refused,
}

/// How many workers serve a type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Those of mshost, on whatever host.
    pub mshost: usize,
    /// Those of MicroServices.js.
    pub msjs: usize,
}

impl WorkerCounts {
    /// Whether both kinds serve it, which no sender can make sense of.
    #[must_use]
    pub fn is_mixed(self) -> bool {
        self.mshost > 0 && self.msjs > 0
    }
}

/// The workers on the bus. Adding, removing and looking up are O(1) in the number of workers and types; readers never wait
/// for one another. The gauges `microservices_workers_total` and `microservices_connected_workers` follow it.
#[derive(Debug)]
pub struct Registry {
    inner: RwLock<RegistryState>,
    /// How much `inner.departed` holds: where no worker has left, which is the rule, [`Registry::is_gone`] takes no lock.
    departed: AtomicUsize,
    /// A worker has come or gone.
    changes: watch::Sender<()>,
    max_workers: AtomicUsize,
    metrics: Arc<Metrics>,
    /// The gauges follow it.
    shown: AtomicBool,
    /// Those of the buses that this one is linked to.
    others: RwLock<Vec<Weak<Registry>>>,
    /// Whether there are any.
    linked: AtomicBool,
}

#[derive(Debug)]
struct RegistryState {
    workers: HashMap<WorkerId, WorkerEntry>,
    /// Types with at least one worker.
    types: HashMap<WorkerType, TypeEntry>,
    /// Never holds a type or a worker that is in the two above.
    departed: DepartedWorkers,
}

/// The workers of a type.
#[derive(Debug, Default)]
struct TypeEntry {
    ids: HashSet<WorkerId>,
    /// How many of them are mshost's.
    mshost: usize,
}

#[derive(Debug)]
struct WorkerEntry {
    known: KnownWorker,
    heard: Instant,
}

impl Registry {
    /// An empty registry for at most `max_workers`, which also remembers about as many that left.
    #[must_use]
    pub fn new(max_workers: usize, metrics: Arc<Metrics>) -> Self {
        let inner = RegistryState {
            workers: HashMap::new(),
            types: HashMap::new(),
            departed: DepartedWorkers::new(max_workers),
        };
        let changes = watch::Sender::new(());
        Self {
            inner: RwLock::new(inner),
            departed: AtomicUsize::new(0),
            changes,
            max_workers: AtomicUsize::new(max_workers),
            metrics,
            shown: AtomicBool::new(true),
            others: RwLock::default(),
            linked: AtomicBool::new(false),
        }
    }

    /// From now on it takes so many. Those beyond that it knows already stay.
    pub fn limit(&self, max_workers: usize) {
        self.max_workers.store(max_workers, Ordering::Relaxed);
    }

    /// Adds a worker, or notes that it was heard again at `now`.
    pub fn add(&self, announcement: Announcement, now: Instant) -> Announced {
        let Announcement { worker, host } = announcement;
        let mut inner = self.inner.write();
        if let Some(entry) = inner.workers.get_mut(&worker.id) {
            entry.heard = now;
            let was_native = std::mem::replace(&mut entry.known.host, host).is_some();
            let is_native = entry.known.host.is_some();
            if was_native != is_native
                && let Some(workers_of_type) = inner.types.get_mut(&worker.worker_type)
            {
                workers_of_type.mshost = workers_of_type.mshost + usize::from(is_native) - usize::from(was_native);
                self.changes.send_replace(());
            }
            return Announced::Again;
        }
        if inner.workers.len() >= self.max_workers.load(Ordering::Relaxed) {
            self.metrics.workers_refused.inc();
            return Announced::Refused;
        }
        inner.departed.remove(&Address::One(worker.id.clone()));
        inner.departed.remove(&Address::Any(worker.worker_type.clone()));
        let workers_of_type = inner.types.entry(worker.worker_type.clone()).or_default();
        workers_of_type.ids.insert(worker.id.clone());
        workers_of_type.mshost += usize::from(host.is_some());
        self.count(&worker.worker_type, workers_of_type.ids.len());
        let known = KnownWorker { worker: worker.clone(), host, since: SystemTime::now().into() };
        inner.workers.insert(worker.id, WorkerEntry { known, heard: now });
        self.publish(&inner);
        Announced::New
    }

    /// Removes a worker that announces its end. Returns whether it was known.
    pub fn remove(&self, id: &WorkerId) -> bool {
        let mut inner = self.inner.write();
        let known = self.remove_from(&mut inner, id).is_some();
        self.publish(&inner);
        known
    }

    /// Removes the workers that were last heard before `deadline` and returns them. O(n): it is called once per keepalive.
    pub fn expire(&self, deadline: Instant) -> Vec<KnownWorker> {
        let mut inner = self.inner.write();
        let silent: Vec<WorkerId> =
            inner.workers.iter().filter(|(_, entry)| entry.heard < deadline).map(|(id, _)| id.clone()).collect();
        let expired = silent.iter().filter_map(|id| self.remove_from(&mut inner, id)).collect();
        self.publish(&inner);
        expired
    }

    /// Whether it is known that no worker answers to `address` any more: its type had workers and all have left or
    /// expired, or this one has. A type never heard of is not gone, and what left long ago may have been forgotten:
    /// `false` proves nothing, and the bus itself has the last word.
    #[must_use]
    pub fn is_gone(&self, address: &Address) -> bool {
        if self.departed.load(Ordering::Acquire) == 0 || self.linked.load(Ordering::Acquire) {
            return false;
        }
        let inner = self.inner.read();
        inner.departed.contains(address)
            || matches!(address, Address::One(id) if inner.departed.contains(&Address::Any(id.worker_type())))
    }

    /// The worker of this id.
    #[must_use]
    pub fn get(&self, id: &WorkerId) -> Option<KnownWorker> {
        self.inner.read().workers.get(id).map(|entry| entry.known.clone())
    }

    /// How many workers serve a type.
    #[must_use]
    pub fn count_of(&self, kind: &WorkerType) -> usize {
        self.inner.read().types.get(kind).map_or(0, |workers_of_type| workers_of_type.ids.len())
    }

    /// How many workers of either kind serve a type.
    #[must_use]
    pub fn counts_of(&self, kind: &WorkerType) -> WorkerCounts {
        self.inner.read().types.get(kind).map_or_else(WorkerCounts::default, |workers_of_type| WorkerCounts {
            mshost: workers_of_type.mshost,
            msjs: workers_of_type.ids.len() - workers_of_type.mshost,
        })
    }

    /// The workers of MicroServices.js. O(n).
    #[must_use]
    pub fn msjs_workers(&self) -> Vec<WorkerRef> {
        let inner = self.inner.read();
        let msjs = inner.workers.values().filter(|entry| entry.known.host.is_none());
        msjs.map(|entry| entry.known.worker.clone()).collect()
    }

    /// Changes when a worker has come or gone.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// How many there are of each type.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<WorkerType, usize> {
        self.inner
            .read()
            .types
            .iter()
            .map(|(kind, workers_of_type)| (kind.clone(), workers_of_type.ids.len()))
            .collect()
    }

    /// How many workers are on the bus.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.read().workers.len()
    }

    /// Whether no worker is on the bus.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All workers, by id.
    #[must_use]
    pub fn list(&self) -> Vec<KnownWorker> {
        let mut list: Vec<_> = self.inner.read().workers.values().map(|entry| entry.known.clone()).collect();
        list.sort_by(|a, b| a.worker.id.cmp(&b.worker.id));
        list
    }

    /// The gauges follow it from now on, or do not: those of a host with two buses are of the one that it lives on.
    pub fn show(&self, shown: bool) {
        let inner = self.inner.write();
        self.shown.store(shown, Ordering::Release);
        if !shown {
            return self.forget(inner.types.keys().cloned().chain(inner.departed.types()).collect());
        }
        for (kind, workers_of_type) in &inner.types {
            self.count(kind, workers_of_type.ids.len());
        }
        self.publish(&inner);
    }

    /// This bus is linked to another: a worker that this registry misses may be in that one. While there is
    /// such a link, no worker is gone.
    pub fn link(&self, other: &Arc<Self>) {
        self.change_others(|others| others.push(Arc::downgrade(other)));
    }

    /// The end of that.
    pub fn unlink(&self, other: &Arc<Self>) {
        self.change_others(|others| others.retain(|linked| linked.as_ptr() != Arc::as_ptr(other)));
    }

    fn change_others(&self, change: impl FnOnce(&mut Vec<Weak<Self>>)) {
        let mut others = self.others.write();
        change(&mut others);
        self.linked.store(!others.is_empty(), Ordering::Release);
        drop(others);
        self.changes.send_replace(());
    }

    /// Whether workers of a type are known, here or on a bus that this one is linked to.
    #[must_use]
    pub fn is_served(&self, kind: &WorkerType) -> bool {
        let elsewhere = || self.others.read().iter().filter_map(Weak::upgrade).any(|other| other.count_of(kind) > 0);
        self.count_of(kind) > 0 || self.linked.load(Ordering::Acquire) && elsewhere()
    }

    /// Shows how many workers of a type there are.
    fn count(&self, kind: &WorkerType, workers: usize) {
        if self.shown.load(Ordering::Acquire) {
            self.metrics.workers.with_label_values(&[&**kind]).set(count(workers));
        }
    }

    fn remove_from(&self, inner: &mut RegistryState, id: &WorkerId) -> Option<KnownWorker> {
        let known = inner.workers.remove(id)?.known;
        let kind = &known.worker.worker_type;
        self.forget(inner.departed.insert(Address::One(id.clone())));
        let left = inner.types.get_mut(kind).map_or(0, |workers_of_type| {
            workers_of_type.ids.remove(id);
            workers_of_type.mshost -= usize::from(known.host.is_some());
            workers_of_type.ids.len()
        });
        self.count(kind, left);
        if left == 0 {
            inner.types.remove(kind);
            self.forget(inner.departed.insert(Address::Any(kind.clone())));
        }
        Some(known)
    }

    /// A type that is neither known nor remembered gives its line in `/metrics` back: their number stays bounded.
    fn forget(&self, types: Vec<WorkerType>) {
        for kind in types {
            // It fails only where there was no such line.
            let _ = self.metrics.workers.remove_label_values(&[&*kind]);
        }
    }

    fn publish(&self, inner: &RegistryState) {
        if self.shown.load(Ordering::Acquire) {
            self.metrics.connected_workers.set(count(inner.workers.len()));
        }
        self.departed.store(inner.departed.len(), Ordering::Release);
        self.changes.send_replace(());
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
