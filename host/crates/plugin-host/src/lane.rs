//! The host's threads of one generation: only these (and threads of the plugin itself) run the plugin's code.
//!
//! Each lane is a thread with a `current_thread` runtime. The host's own tasks that use the plugin run on it, as local
//! tasks, and poll the plugin's futures in place: a job costs no spawn and no change of thread.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mshost_core::ids::JobId;
use mshost_core::metrics::Metrics;
use mshost_plugin_api::SendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, timeout_at};

use super::generation::Loaded;
use super::threads::Threads;

/// The most sends of one generation that wait for the bus; more are refused.
const MAX_WAITING_SENDS: usize = 65_536;

type Sent = Result<JobId, SendError>;
type BusFuture = Pin<Box<dyn Future<Output = Sent> + Send>>;

/// What a lane is asked to run.
pub(super) enum Command {
    /// A task of the host.
    Task(Box<dyn FnOnce(Lane) -> LocalBoxFuture<'static, ()> + Send>),
    /// A send that has to wait; its result wakes a waker of the plugin, which only a lane may do.
    Drive(BusFuture, oneshot::Sender<Sent>, WaitingSend),
}

/// A lane, for the tasks that run on it. It stays on its thread.
#[derive(Clone)]
pub struct Lane(pub(super) Rc<LaneInner>);

pub(super) struct LaneInner {
    pub(super) loaded: Arc<Loaded>,
    pub(super) link: LaneLink,
    pub(super) threads: Threads,
    pub(super) metrics: Arc<Metrics>,
    pub(super) name: String,
    pub(super) abandoned: Arc<AtomicUsize>,
}

/// A way to a lane, from any thread.
#[derive(Clone)]
pub(super) struct LaneLink {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) waiting: Arc<AtomicUsize>,
}

/// Counts one waiting send until it is over.
pub(super) struct WaitingSend(Arc<AtomicUsize>);

impl Drop for WaitingSend {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LaneLink {
    /// Has the lane drive a send of the bus to its end. What is returned may be polled on any thread of the plugin.
    pub(super) fn drive(&self, future: BusFuture) -> Result<impl Future<Output = Sent> + Send + use<>, SendError> {
        let retiring = || SendError::Unavailable("this version of the plugin is being retired".to_owned());
        let permit = WaitingSend(Arc::clone(&self.waiting));
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING_SENDS {
            return Err(SendError::Unavailable(format!("{MAX_WAITING_SENDS} sends of this plugin wait for the bus")));
        }
        let (done, result) = oneshot::channel();
        self.commands.send(Command::Drive(future, done, permit)).map_err(|_| retiring())?;
        Ok(async move { result.await.unwrap_or_else(|_| Err(retiring())) })
    }
}

/// The body of a lane's thread: runs tasks until it is told to end, and then until they have ended or the deadline is here.
pub(super) fn run(lane: Lane, commands: mpsc::UnboundedReceiver<Command>, retire: watch::Receiver<Option<Instant>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        // Dropping the commands tells everybody who waits.
        Err(error) => {
            return tracing::error!(target: "mshost::plugin", lane = lane.0.name, "its runtime cannot start: {error}");
        }
    };
    let local = LocalSet::new();
    local.block_on(&runtime, serve(lane, commands, retire));
    // What is left of the tasks is dropped here, on the thread where it was made.
    drop(local);
}

async fn serve(
    lane: Lane,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut retire: watch::Receiver<Option<Instant>>,
) {
    let (mut tasks, mut sends) = (JoinSet::new(), JoinSet::new());
    loop {
        let retiring = *retire.borrow_and_update();
        if retiring.is_some() && tasks.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Task(task)) => drop(tasks.spawn_local(task(lane.clone()))),
                Some(Command::Drive(future, done, permit)) => drop(sends.spawn_local(drive(future, done, permit))),
                None => break,
            },
            Some(_) = tasks.join_next() => {}
            Some(_) = sends.join_next() => {}
            _ = retire.changed(), if retiring.is_none() => {}
            () = until(retiring), if retiring.is_some() => break,
        }
    }
    // Commands still in the queue are dropped with it, which answers them.
    drop(commands);
    tasks.shutdown().await;
    sends.shutdown().await;
}

async fn until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        let _ = timeout_at(deadline, std::future::pending::<()>()).await;
    }
}

async fn drive(future: BusFuture, mut done: oneshot::Sender<Sent>, permit: WaitingSend) {
    let _permit = permit;
    tokio::select! {
        result = future => drop(done.send(result)),
        // Nobody waits for it any more.
        () = done.closed() => {}
    }
}

/// The end of a task on a lane.
#[must_use = "a task's panic is heard of here"]
pub struct LaneTask(oneshot::Receiver<Result<(), String>>);

/// Why a task on a lane ended too early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// It panicked.
    #[error("the worker's task panicked: {0}")]
    Panicked(String),
    /// The generation was retired before the task's end.
    #[error("the plugin's generation is retired")]
    Gone,
}

impl LaneTask {
    /// Makes a command of a task, and its end.
    pub(super) fn new<F, Fut>(task: F) -> (Command, Self)
    where
        F: FnOnce(Lane) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let (done, end) = oneshot::channel();
        let command = Command::Task(Box::new(move |lane| {
            let task = async move { task(lane).await };
            let task = std::panic::AssertUnwindSafe(task).catch_unwind();
            async move {
                // Nobody may be waiting.
                let _ = done.send(task.await.map_err(|panic| text_of(&*panic)));
            }
            .boxed_local()
        }));
        (command, Self(end))
    }
}

impl Future for LaneTask {
    type Output = Result<(), LaneError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|end| match end {
            Ok(Ok(())) => Ok(()),
            Ok(Err(panic)) => Err(LaneError::Panicked(panic)),
            Err(_) => Err(LaneError::Gone),
        })
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(the panic carries no text)").to_owned()
}
