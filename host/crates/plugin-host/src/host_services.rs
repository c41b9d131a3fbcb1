//! The host's services for an instance, implemented by the worker runtime, and their requests.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mshost_core::ids::{JobId, WorkerRef};
use mshost_plugin_api::{Codec, Payload, Route, SendError};

/// Host services for one worker. Implemented by the worker runtime; called on any thread of the plugin.
pub trait HostServices: Send + Sync + 'static {
    /// The bus's codec.
    fn codec(&self) -> Codec;
    /// The worker's id and type.
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
    /// The plugin panicked where no result can say so: in `on_error`, in `drain`, or while a handler was cancelled.
    fn panicked(&self, message: &str) {
        let _ = message;
    }
    /// A thread was abandoned: the caller of the call that it has run since `since` no longer waits.
    fn thread_abandoned(&self, since: Instant) {
        let _ = since;
    }
    /// The thread that was abandoned with a call of this time has returned.
    fn thread_returned(&self, since: Instant) {
        let _ = since;
    }
}

/// A job that a plugin sends.
#[derive(Debug)]
pub struct SendRequest {
    /// The pipeline, at the address of the receiver.
    pub route: Route,
    /// The data, in the bus's codec.
    pub payload: Payload,
    /// The job in whose handling this is sent, if any: the new job inherits its correlation and origin.
    pub parent: Option<Arc<JobHeader>>,
    /// Whether the worker's `start` itself sends it, and not a task of the worker.
    pub by_start: bool,
}

/// A job without its data, as its handler gets it; also the parent of what the handler sends.
#[derive(Debug, Clone)]
pub struct JobHeader {
    /// The job's id.
    pub id: JobId,
    /// The id of the first job of the pipeline.
    pub correlation: JobId,
    /// The pipeline.
    pub route: Route,
    /// The sender.
    pub sender: WorkerRef,
    /// The sender of the pipeline's first job.
    pub origin: WorkerRef,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When it expires; what is sent in its handling inherits this.
    pub deadline: Option<SystemTime>,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
}

/// The result of [`HostServices::send`], now or later.
pub enum SendOutcome {
    /// The result.
    Done(Result<JobId, SendError>),
    /// A future of the result.
    Pending(Pin<Box<dyn Future<Output = Result<JobId, SendError>> + Send>>),
}
