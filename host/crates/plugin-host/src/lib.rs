//! Plugin files and what is loaded from them.
//!
//! A file in `plugins/` is copied to a private path ([`ShadowCopy`]), probed in a child process ([`probe()`]), loaded
//! (`library`, the host's only unsafe code) and becomes a [`Generation`]: one version of one plugin with host threads
//! of its own. No other thread ever runs its code; that is what makes unloading safe and real. The host's tasks run on
//! these threads as local tasks ([`Generation::spawn`]), start [`Instance`]s there and poll their handlers in place.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_plugin_api::{Codec, Payload, SendError};
pub use mshost_plugin_api::{Manifest as PluginInfo, Unload, WorkerKind, WorkerManifest as WorkerInfo};

use mshost_core::ids::{JobId, WorkerRef};

mod blocking;
mod elf;
#[cfg(test)]
mod elf_tests;
mod error;
mod generation;
mod generation_state;
mod instance;
mod kept;
mod lane;
mod library;
mod line;
mod log;
mod manifest;
mod panics;
mod probe;
mod refusal;
mod services;
mod shadow;
mod snapshot;
mod sync;
mod threads;
pub mod watch;

pub use error::{LoadError, LoadFailure};
pub use generation::{Generation, LoadOptions, Retired};
pub use generation_state::GenerationState;
pub use instance::{HandlerError, Instance};
pub use kept::Kept;
pub use lane::{Lane, LaneError, LaneTask};
pub use library::free_thread_keys;
pub use log::{log_event, log_level};
pub use probe::program;
pub use probe::{PROBE_OPTION, probe, probe_main, set_probe_program};
pub use shadow::ShadowCopy;
pub use snapshot::Snapshot;

/// What a worker may ask of its host. Implemented by the worker runtime; called on any thread of the plugin.
pub trait HostServices: Send + Sync + 'static {
    /// The bus's codec.
    fn codec(&self) -> Codec;
    /// Who the worker is.
    fn worker(&self) -> WorkerRef;
    /// Sends a job: at once where the bus allows it, else by a future that the generation's thread drives.
    fn send(&self, request: SendRequest) -> SendOutcome;
    /// A duplicate of the listening socket that the topology's `listen` gives this name.
    ///
    /// # Errors
    /// A message for the user, where the topology has no such name.
    fn listener(&self, name: &str) -> Result<OwnedFd, String>;
    /// Adds a measurement to `microservices_job_processing_seconds{service, job_type}`.
    fn observe(&self, job_type: &str, elapsed: Duration);
    /// Sets `mshost_plugin_value{service, name}`.
    fn set_value(&self, name: &str, value: f64);
    /// The plugin panicked where its answer cannot say so: in `on_error`, in `drain`, or as a handler was cancelled.
    fn panicked(&self, message: &str) {
        let _ = message;
    }
    /// A thread was left behind with a call, made at `since`, that nobody waits for any more.
    fn thread_left(&self, since: Instant) {
        let _ = since;
    }
    /// The thread that was left behind with a call of this time has come back.
    fn thread_returned(&self, since: Instant) {
        let _ = since;
    }
}

/// What a plugin hands over to be sent.
#[derive(Debug)]
pub struct SendRequest {
    /// Where to.
    pub route: mshost_plugin_api::Route,
    /// The data, in the bus's codec.
    pub payload: Payload,
    /// The job in whose handling this is sent, if any: the new job inherits its correlation and origin.
    pub parent: Option<Arc<JobHeader>>,
    /// Whether the worker's `start` itself sends it, and not a task of the worker.
    pub by_start: bool,
}

/// What a handler is told about its job, besides the data; also the parent of what it sends.
#[derive(Debug, Clone)]
pub struct JobHeader {
    /// The job's id.
    pub id: JobId,
    /// The id of the first job of the pipeline.
    pub correlation: JobId,
    /// The pipeline.
    pub route: mshost_plugin_api::Route,
    /// Who sent it.
    pub sender: WorkerRef,
    /// Who sent the first job of the pipeline.
    pub origin: WorkerRef,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When it is no longer wanted; what is sent in its handling inherits this.
    pub deadline: Option<std::time::SystemTime>,
    /// It may have been delivered before.
    pub redelivered: bool,
}

/// What became of a [`HostServices::send`].
pub enum SendOutcome {
    /// Decided at once.
    Done(Result<JobId, SendError>),
    /// Not yet.
    Pending(Pin<Box<dyn Future<Output = Result<JobId, SendError>> + Send>>),
}
