//! The manager: which workers are on the bus.
//!
//! [`Manager`] listens to the bus and probes at intervals which workers there are; [`Registry`] is what it knows, for every part
//! of the host to read at any time. The manager routes nothing: the bus itself tells a sender that no worker can take its job.
//! The registry adds what a bus cannot know, that a worker which it still has a queue for is gone ([`Registry::is_gone`]).
//!
//! Where several hosts share a bus, every manager keeps a registry by listening, and one of them is active: it alone probes, and
//! deletes the queues of dead workers. The others go by its probes, and by those of a MicroServices.js manager, as by their own:
//! a worker that answers none expires everywhere.

mod dead_workers;
mod departed_workers;
mod liveness_probes;
mod log_target;
mod manager;
mod queue_cleanup;
mod registry;

pub use manager::{Manager, ManagerOptions};
pub use registry::{Announced, KnownWorker, Registry, WorkerCounts};
