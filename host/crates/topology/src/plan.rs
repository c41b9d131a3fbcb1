//! What should run: a topology spread over the plugins that are there.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mshost_bus::Durability;
use mshost_core::ids::{GenerationId, PluginName, WorkerType};

use super::config::{BusConfig, Isolation, ParkedJobs, RestartPolicy, RetryPolicy, Sandbox, Topology, WorkerConfig};

/// The place of one instance. It stays the same when the instance in it is swapped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Slot {
    /// The type of the worker.
    pub worker_type: WorkerType,
    /// The plugin that has it.
    pub plugin: PluginName,
    /// Which of the instances, from 0.
    pub index: u32,
}

/// `WB[0]`, for logs; where several plugins serve one type, the plugin must be said as well.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.worker_type, self.index)
    }
}

/// All that an instance is made from. Two that are equal need no swap. `Debug` leaves its config out, which may hold
/// secrets of the environment.
#[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct WorkerSpec {
    /// Its place.
    pub slot: Slot,
    /// The plugin that has it.
    pub plugin: PluginName,
    /// The type of the jobs that it takes.
    pub worker_type: WorkerType,
    /// How many jobs it does at a time.
    pub concurrency: u16,
    /// How long one attempt at a job may take.
    pub timeout: Duration,
    /// How often a job is tried.
    pub retry: RetryPolicy,
    /// What the jobs that wait for it outlive.
    pub durability: Durability,
    /// How long the pipelines that it begins may take; `None` is for ever.
    pub deadline: Option<Duration>,
    /// How long its `start` may take.
    pub start_timeout: Duration,
    /// How long its jobs in flight may take to finish when it is stopped.
    pub drain_timeout: Duration,
    /// How often it is started again after a failure.
    pub restart: RestartPolicy,
    /// What becomes of the jobs of its type once all of its workers are parked.
    pub parked: ParkedJobs,
    /// How many threads of its blocking handlers may be abandoned before its slot is parked.
    pub abandoned_threads: u32,
    /// The sockets that the host listens on for it, by name.
    pub listen: BTreeMap<String, SocketAddr>,
    /// Where it runs.
    pub isolation: Isolation,
    /// What its process may change and reach; `None` is what the host may.
    pub sandbox: Option<Sandbox>,
    /// Handed to the plugin.
    pub config: serde_json::Value,
}

impl fmt::Debug for WorkerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSpec")
            .field("slot", &self.slot)
            .field("concurrency", &self.concurrency)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("durability", &self.durability)
            .field("deadline", &self.deadline)
            .field("start_timeout", &self.start_timeout)
            .field("drain_timeout", &self.drain_timeout)
            .field("restart", &self.restart)
            .field("parked", &self.parked)
            .field("abandoned_threads", &self.abandoned_threads)
            .field("listen", &self.listen)
            .field("isolation", &self.isolation)
            .field("sandbox", &self.sandbox)
            .finish_non_exhaustive()
    }
}

impl WorkerSpec {
    fn new(worker: &WorkerConfig, index: u32, durability: Durability) -> Self {
        let (worker_type, plugin) = (worker.worker_type.clone(), worker.plugin.clone());
        Self {
            slot: Slot { worker_type: worker_type.clone(), plugin: plugin.clone(), index },
            plugin,
            worker_type,
            concurrency: worker.concurrency,
            timeout: worker.timeout,
            retry: worker.retry,
            durability: worker.durability.unwrap_or(durability),
            deadline: worker.deadline,
            start_timeout: worker.start_timeout,
            drain_timeout: worker.drain_timeout,
            restart: worker.restart,
            parked: worker.parked,
            abandoned_threads: worker.abandoned_threads,
            listen: worker.listen.clone(),
            isolation: worker.isolation,
            sandbox: worker.sandbox.clone(),
            config: worker.config.clone(),
        }
    }
}

/// What should be in a slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// What it is made from.
    pub spec: Arc<WorkerSpec>,
    /// The generation of its plugin; `None` while it is pending: the plugin is not there.
    pub generation: Option<GenerationId>,
    /// The bus that it meets others on. Not a part of the spec, which a process of its own is told: a URL may hold a password.
    pub bus: Arc<BusConfig>,
}

/// What should run, or what does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan(pub(crate) BTreeMap<Slot, Planned>);

impl Plan {
    /// What is in a slot.
    #[must_use]
    pub fn get(&self, slot: &Slot) -> Option<&Planned> {
        self.0.get(slot)
    }

    /// Every slot, in order of type, plugin and index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Slot, &Planned)> {
        self.0.iter()
    }

    /// Every slot whose plugin is not there.
    pub fn pending(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().filter(|(_, planned)| planned.generation.is_none()).map(|(slot, _)| slot)
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Slot, Planned)> for Plan {
    fn from_iter<I: IntoIterator<Item = (Slot, Planned)>>(slots: I) -> Self {
        Self(slots.into_iter().collect())
    }
}

/// Spreads a topology over the plugins that are loaded, one slot an instance.
///
/// `generations` has, for each plugin, the generation that its workers should be of: the newest that can be used. A
/// plugin whose file was removed while it runs keeps its last one there, since that does not stop its workers.
#[must_use]
pub fn plan(topology: &Topology, generations: &BTreeMap<PluginName, GenerationId>) -> Plan {
    let bus = Arc::new(topology.bus.clone());
    let instances = topology.workers.iter().flat_map(|worker| (0..worker.instances).map(move |index| (worker, index)));
    instances
        .map(|(worker, index)| {
            let spec = Arc::new(WorkerSpec::new(worker, index, topology.bus.durability));
            let generation = generations.get(&spec.plugin).copied();
            (spec.slot.clone(), Planned { spec, generation, bus: Arc::clone(&bus) })
        })
        .collect()
}
