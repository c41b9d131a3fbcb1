//! Context of a worker: its access to the host.

use std::fmt;
use std::future::Future;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::abi::{self, RResult, RStr, ScopeObject, ServicesObject};
use crate::codec::Codec;
use crate::ids::{JobId, WorkerId, WorkerRef};
use crate::send::{RouteText, SendVia, Sending};
use crate::{Error, Route, SendError};

/// A worker's access to its host: sending, measurements, sockets, tasks. Cheap to clone; may be moved into spawned tasks and
/// other threads.
///
/// The one given to `handle` knows the job: what is sent through it belongs to the same pipeline.
#[derive(Clone)]
pub struct Context {
    instance: Arc<InstanceContext>,
    job: Option<Arc<ScopeObject>>,
}

/// The part that all contexts of one instance share.
pub(crate) struct InstanceContext {
    services: Arc<ServicesObject>,
    worker: WorkerRef,
    codec: Codec,
    runtime: Handle,
    drain: watch::Sender<bool>,
    tasks: Mutex<SpawnedTasks>,
}

/// The tasks that an instance has spawned.
#[derive(Default)]
struct SpawnedTasks {
    running: Vec<AbortHandle>,
    closed: bool,
}

impl Context {
    pub(crate) fn new(services: ServicesObject, runtime: Handle) -> Result<Self, Error> {
        let worker = WorkerRef::from(WorkerId::new(&services.worker_id())?);
        let codec = match services.codec() {
            0 => Codec::Json,
            1 => Codec::Bson,
            2 => Codec::MsgPack,
            other => {
                return Err(Error::permanent(format!(
                    "the host's bus uses codec {other}, which this plugin does not know: rebuild it with a newer mshost-plugin-api"
                )));
            }
        };
        let (drain, _) = watch::channel(false);
        let services = Arc::new(services);
        Ok(Self {
            instance: Arc::new(InstanceContext { services, worker, codec, runtime, drain, tasks: Mutex::default() }),
            job: None,
        })
    }

    pub(crate) fn for_job(&self, scope: Arc<ScopeObject>) -> Self {
        Self { instance: Arc::clone(&self.instance), job: Some(scope) }
    }

    pub(crate) fn send_via(&self) -> SendVia {
        match &self.job {
            Some(scope) => SendVia::Job(Arc::clone(scope)),
            None => SendVia::Instance(Arc::clone(&self.instance.services)),
        }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.instance.runtime
    }

    /// The id and type of this worker on the bus.
    #[must_use]
    pub fn worker(&self) -> &WorkerRef {
        &self.instance.worker
    }

    /// The bus's codec.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.instance.codec
    }

    /// Sends `data` down a pipeline of addresses: `TYPE:*` is any worker of the type, `TYPE:1460306476102` that one. The
    /// first gets the job; what it [forwards](crate::Job::forward) goes to the second, and so on. The result is the new job's id.
    ///
    /// ```
    /// # use mshost_plugin_api::{Context, Error, Job};
    /// # async fn example(job: Job, ctx: &Context) -> Result<(), Error> {
    /// ctx.send(["WB:*", &job.sender.id], "find all movies").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SendError`], when awaited.
    #[doc(alias = "sendToNextWorker")]
    pub fn send<S: AsRef<str>, T: Serialize + ?Sized>(&self, route: impl IntoIterator<Item = S>, data: &T) -> Sending {
        let route = Route::parse(route).map(|route| RouteText::from(&route)).map_err(SendError::from);
        Sending::new(self.send_via(), self.codec(), route, data)
    }

    /// As [`Context::send`], for a [`BlockingWorker`](crate::BlockingWorker): blocks while the bus makes the sender wait.
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::Unavailable`] where it is called in an async handler, which must not block.
    pub fn blocking_send<S: AsRef<str>, T: Serialize + ?Sized>(
        &self,
        route: impl IntoIterator<Item = S>,
        data: &T,
    ) -> Result<JobId, SendError> {
        self.send(route, data).block()
    }

    /// The measurements of the worker.
    #[must_use]
    pub fn metrics(&self) -> WorkerMetrics<'_> {
        WorkerMetrics { services: &self.instance.services }
    }

    /// A duplicate of the listening socket that the topology's `listen` gives this name, in non-blocking mode. The host
    /// keeps the socket open, so no connection is refused while one version of the worker takes over from another.
    ///
    /// # Errors
    /// Where the worker's `listen` in the topology has no such name.
    pub fn listener(&self, name: &str) -> Result<TcpListener, Error> {
        match self.instance.services.listener(RStr::from(name)) {
            RResult::ROk(fd) => {
                let listener = TcpListener::from(abi::adopt_fd(fd));
                listener.set_nonblocking(true)?;
                Ok(listener)
            }
            RResult::RErr(message) => Err(Error::permanent(message)),
        }
    }

    /// Resolves when the worker is to stop: for its spawned tasks, which should finish what they have started. See
    /// [`Worker::drain`](crate::Worker::drain).
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut drain = self.instance.drain.subscribe();
        async move {
            // An error means that the instance is gone, which is a shutdown too.
            let _ = drain.wait_for(|draining| *draining).await;
        }
    }

    /// Runs a task on the plugin's own threads until it ends or the instance is dropped, whichever comes first. A panic in it
    /// is logged and counted by the host, and replaces no worker: what it means is for the worker to decide.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let handle = self.instance.runtime.spawn(task);
        self.instance.tasks.lock().unwrap_or_else(PoisonError::into_inner).add(handle.abort_handle());
        handle
    }

    pub(crate) fn begin_drain(&self) {
        self.instance.drain.send_replace(true);
    }

    /// Aborts the tasks of [`Context::spawn`]. To be called when the instance is dropped.
    pub(crate) fn abort_tasks(&self) {
        let mut tasks = self.instance.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.closed = true;
        for task in tasks.running.drain(..) {
            task.abort();
        }
    }
}

impl SpawnedTasks {
    fn add(&mut self, task: AbortHandle) {
        if self.closed {
            task.abort();
            return;
        }
        // Forgets those that ended, each time the list would grow: what is kept is at most twice what runs.
        if self.running.len() == self.running.capacity() {
            self.running.retain(|task| !task.is_finished());
        }
        self.running.push(task);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("worker", self.worker()).field("in_job", &self.job.is_some()).finish()
    }
}

/// Measurements of a worker, which appear on the host's `/metrics`.
#[derive(Clone, Copy)]
pub struct WorkerMetrics<'a> {
    services: &'a Arc<ServicesObject>,
}

impl WorkerMetrics<'_> {
    /// Measures until the result is dropped, into `microservices_job_processing_seconds{job_type}`.
    ///
    /// ```
    /// # use mshost_plugin_api::Context;
    /// # fn example(ctx: &Context) {
    /// let timer = ctx.metrics().time("db_operation");
    /// // … the operation …
    /// drop(timer);
    /// # }
    /// ```
    pub fn time(&self, job_type: &'static str) -> Timer {
        Timer { services: Arc::clone(self.services), job_type, start: Instant::now() }
    }

    /// Adds one measurement to `microservices_job_processing_seconds{job_type}`.
    pub fn observe(&self, job_type: &str, elapsed: Duration) {
        observe(self.services, job_type, elapsed);
    }

    /// Sets `mshost_plugin_value{name}`. Use few names: each is a time series of its own.
    pub fn set(&self, name: &str, value: f64) {
        self.services.set_value(RStr::from(name), value);
    }
}

impl fmt::Debug for WorkerMetrics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerMetrics")
    }
}

/// A running measurement of time; see [`WorkerMetrics::time`].
#[must_use = "it measures until it is dropped"]
pub struct Timer {
    services: Arc<ServicesObject>,
    job_type: &'static str,
    start: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        observe(&self.services, self.job_type, self.start.elapsed());
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("job_type", &self.job_type).finish_non_exhaustive()
    }
}

fn observe(services: &ServicesObject, job_type: &str, elapsed: Duration) {
    services.observe(RStr::from(job_type), u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crosses_threads<T: Send + Sync>() {}

    #[test]
    fn authors_can_move_a_context_into_tasks_and_threads() {
        crosses_threads::<Context>();
        crosses_threads::<crate::Job>();
        fn is_send<T: Send>() {}
        is_send::<Sending>();
    }
}
