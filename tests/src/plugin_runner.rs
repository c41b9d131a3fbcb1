//! Runs plugins without the rest of the host: a generation on a fake of what the worker runtime lends it.
#![allow(clippy::expect_used, clippy::unwrap_used)] // a harness fails by panicking

use std::collections::HashMap;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mshost_core::ids::{GenerationId, JobId, PluginName, WorkerId, WorkerRef, WorkerType};
use mshost_core::metrics::Metrics;
use mshost_plugin_api::{Codec, Payload, Route};
use mshost_plugin_host::{
    Generation, HandlerError, HostServices, Instance, JobHeader, Lane, LoadError, LoadOptions, SendOutcome,
    SendRequest, ShadowCopy, probe, set_probe_program,
};
use tokio::sync::watch;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

type SendAnswer = Box<dyn FnMut(&SendRequest) -> SendOutcome + Send>;

/// A [`HostServices`] that remembers.
pub struct FakeHost {
    worker: WorkerRef,
    codec: Codec,
    answer: Mutex<SendAnswer>,
    sent: Mutex<Vec<SendRequest>>,
    values: watch::Sender<HashMap<String, f64>>,
    observed: Mutex<Vec<String>>,
    listener: std::net::TcpListener,
}

impl FakeHost {
    /// One whose worker is of this type, on a MessagePack bus that takes everything.
    #[must_use]
    pub fn new(worker_type: &str) -> Arc<Self> {
        Self::with_codec(worker_type, Codec::MsgPack)
    }

    /// One with another codec.
    #[must_use]
    pub fn with_codec(worker_type: &str, codec: Codec) -> Arc<Self> {
        Arc::new(Self {
            worker: worker(&format!("{worker_type}:1460306476102-1")),
            codec,
            answer: Mutex::new(Box::new(|_| SendOutcome::Done(Ok(job_id("J1460306476103"))))),
            sent: Mutex::default(),
            values: watch::Sender::default(),
            observed: Mutex::default(),
            listener: std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port"),
        })
    }

    /// Sets what a send is answered with.
    pub fn answer(&self, answer: impl FnMut(&SendRequest) -> SendOutcome + Send + 'static) {
        *lock(&self.answer) = Box::new(answer);
    }

    /// What has been sent so far, and is forgotten now.
    pub fn sent(&self) -> Vec<SendRequest> {
        std::mem::take(&mut lock(&self.sent))
    }

    /// The job types that have been measured.
    pub fn observed(&self) -> Vec<String> {
        lock(&self.observed).clone()
    }

    /// The port of its one listener.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("a listener has an address").port()
    }

    /// The value that the plugin set last.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.borrow().get(name).copied()
    }

    /// Waits until the plugin has set a value.
    pub async fn until(&self, name: &str, value: f64) {
        let mut values = self.values.subscribe();
        let reached = values.wait_for(|values| values.get(name) == Some(&value));
        let reached = tokio::time::timeout(PATIENCE, reached).await.is_ok_and(|reached| reached.is_ok());
        assert!(reached, "{name} is {:?} and not {value}", self.value(name));
    }

    /// Waits until the plugin sets a value anew, whatever it was.
    pub async fn next_change(&self, within: Duration) -> bool {
        let mut values = self.values.subscribe();
        tokio::time::timeout(within, values.changed()).await.is_ok()
    }
}

impl HostServices for FakeHost {
    fn codec(&self) -> Codec {
        self.codec
    }

    fn worker(&self) -> WorkerRef {
        self.worker.clone()
    }

    fn send(&self, request: SendRequest) -> SendOutcome {
        let outcome = lock(&self.answer)(&request);
        lock(&self.sent).push(request);
        outcome
    }

    fn listener(&self, name: &str) -> Result<OwnedFd, String> {
        match name {
            "http" => Ok(self.listener.try_clone().expect("a socket can be duplicated").into()),
            _ => Err(format!("`listen` has no {name:?}")),
        }
    }

    fn observe(&self, job_type: &str, _: Duration) {
        lock(&self.observed).push(job_type.to_owned());
    }

    fn set_value(&self, name: &str, value: f64) {
        self.values.send_modify(|values| _ = values.insert(name.to_owned(), value));
    }
}

/// Copies, probes and loads a file, as the supervisor does.
///
/// # Errors
/// What the host says of the file.
pub async fn load(file: &Path, state: &Path) -> Result<Arc<Generation>, LoadError> {
    let options = LoadOptions { limit: 3 * PATIENCE, ..LoadOptions::new(Metrics::new().expect("metrics")) };
    load_with(file, state, options).await
}

/// As [`load`], with other options.
///
/// # Errors
/// What the host says of the file.
pub async fn load_with(file: &Path, state: &Path, options: LoadOptions) -> Result<Arc<Generation>, LoadError> {
    set_probe_program(crate::fixtures::mshost_binary());
    let shadow = ShadowCopy::make(file, state)?;
    probe(&shadow, 3 * PATIENCE).await?;
    Generation::load(GenerationId(1), PluginName::new("echo"), shadow, options).await
}

/// Runs a test's body on a lane and gives back what it made.
pub async fn on_lane<F, Fut, T>(generation: &Generation, body: F) -> T
where
    F: FnOnce(Lane) -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (done, result) = tokio::sync::oneshot::channel();
    let task = generation.spawn(move |lane| async move { _ = done.send(body(lane).await) });
    let ended = tokio::time::timeout(PATIENCE, task).await.expect("the task ends in time");
    ended.unwrap_or_else(|error| panic!("{error}"));
    result.await.expect("a task that ended well has sent its result")
}

/// Starts a worker with a configuration.
///
/// # Errors
/// What the plugin says.
pub async fn start(lane: &Lane, config: serde_json::Value, host: &Arc<FakeHost>) -> Result<Instance, HandlerError> {
    let host: Arc<FakeHost> = Arc::clone(host);
    let worker_type = host.worker.worker_type.clone();
    lane.start(&worker_type, &config, 2, host).await
}

/// Has a worker do a job with this data.
///
/// # Errors
/// What the plugin says.
pub fn handle(
    instance: &Instance,
    host: &FakeHost,
    data: &serde_json::Value,
) -> impl Future<Output = Result<(), HandlerError>> + 'static + use<> {
    instance.handle(Arc::new(header()), Payload::encode(host.codec, data).expect("test data can be encoded"))
}

/// The header of a job that is at `EC:*` and goes on to its sender.
#[must_use]
pub fn header() -> JobHeader {
    JobHeader {
        id: job_id("J1460306476100-2"),
        correlation: job_id("J1460306476100-1"),
        route: Route::parse(["EC:*", "WA:1460306476102"]).expect("a route"),
        sender: worker("WA:1460306476102"),
        origin: worker("WZ:1460306476101"),
        attempt: 2,
        deadline: None,
        redelivered: true,
    }
}

/// A worker by its id.
#[must_use]
pub fn worker(id: &str) -> WorkerRef {
    WorkerRef::from(WorkerId::new(id).expect("a worker id"))
}

/// A job id.
#[must_use]
pub fn job_id(id: &str) -> JobId {
    JobId::new(id).expect("a job id")
}

/// A worker type.
#[must_use]
pub fn worker_type(name: &str) -> WorkerType {
    WorkerType::new(name).expect("a worker type")
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
