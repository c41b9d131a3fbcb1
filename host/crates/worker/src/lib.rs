//! The runtime of a worker: it starts, joins the bus, takes jobs, hands them to its plugin, settles them, drains and leaves.
//!
//! A worker is a local task on a lane of its plugin's generation ([`task`]). While it serves, one loop polls its jobs, its
//! consumer and all else that may happen to it ([`serving`]), and what it is doing is its [phase](worker_phase). Each
//! attempt at a job is settled by what became of it ([`attempt`]). The plugin sends through its [`plugin_services`].
//!
//! Invariants: no command to a consumer is awaited while handlers are not polled ([`consumer_driver`]). A phase changes only
//! by a step of the table in [`worker_phase`]. A plugin's code runs only on the threads of its generation.
//!
//! The supervisor holds a [`Worker`] for each; a worker in a process of its own is one with a [`RemoteWorker`] behind it.

mod abandoned_threads;
mod attempt;
mod consumer_driver;
mod host_context;
mod host_shutdown;
mod id_generator;
mod lifecycle;
mod notification_router;
mod panic_signal;
mod plugin_drain;
mod plugin_instance;
mod plugin_services;
mod progress;
mod refuse_parked_jobs;
mod remote_worker;
mod send_admission;
mod send_gate;
mod serving;
mod share_limiter;
mod sockets;
mod start_mode;
mod starting_types;
mod task;
mod worker;
mod worker_context;
mod worker_counters;
mod worker_phase;
mod worker_request;
mod worker_state;

pub use abandoned_threads::AbandonedThreads;
pub use host_context::HostContext;
pub use host_shutdown::HostShutdown;
pub use id_generator::new_worker_id;
pub use notification_router::NotificationRouter;
pub use progress::Progress;
pub use refuse_parked_jobs::refuse_parked_jobs;
pub use remote_worker::RemoteWorker;
pub use send_admission::{SendAdmission, SendDecision};
pub use share_limiter::JobShare;
pub use sockets::{BindError, Listeners, Sockets};
pub use start_mode::StartMode;
pub use starting_types::{StartingGuard, StartingTypes};
pub use worker::{Worker, WorkerFailure};
pub use worker_phase::SnapshotResult;
pub use worker_request::WorkerRequest;
pub use worker_state::{StartFailure, WorkerState};
