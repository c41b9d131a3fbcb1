//! A lane: one thread of a generation with a `current_thread` runtime, on which the async workers of the plugin run.
//!
//! The host's own tasks that use the plugin run on a lane, too, as local tasks. They poll the plugin's futures in place, so a
//! job costs neither a spawn nor a change of thread. A generation has as many lanes as `host.plugin_threads` says.

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

use super::threads::Threads;
use crate::loader::LoadedPlugin;

/// The most sends of one generation that wait for the bus; more are refused.
const MAX_WAITING_SENDS: usize = 65_536;

type SendResult = Result<JobId, SendError>;
type BusFuture = Pin<Box<dyn Future<Output = SendResult> + Send>>;

/// A message to a lane: something to run.
pub(crate) enum LaneCommand {
    /// A task of the host.
    Task(Box<dyn FnOnce(Lane) -> LocalBoxFuture<'static, ()> + Send>),
    /// A send that has to wait; its result wakes a waker of the plugin, which only a lane may do.
    Drive(BusFuture, oneshot::Sender<SendResult>, WaitingSend),
}

/// Handle of a lane for the tasks that run on it. Not `Send`.
#[derive(Clone)]
pub struct Lane(pub(crate) Rc<LaneInner>);

pub(crate) struct LaneInner {
    pub(crate) loaded: Arc<LoadedPlugin>,
    pub(crate) link: LaneLink,
    pub(crate) threads: Threads,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) name: String,
    pub(crate) abandoned: Arc<AtomicUsize>,
}

/// Sender of commands to a lane, for any thread.
#[derive(Clone)]
pub(crate) struct LaneLink {
    pub(crate) commands: mpsc::UnboundedSender<LaneCommand>,
    pub(crate) waiting: Arc<AtomicUsize>,
}

/// Guard that counts one waiting send until it is over.
pub(crate) struct WaitingSend(Arc<AtomicUsize>);

impl Drop for WaitingSend {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LaneLink {
    /// Has the lane drive a send of the bus to its end. The returned future may be polled on any thread of the plugin.
    pub(crate) fn drive(
        &self,
        future: BusFuture,
    ) -> Result<impl Future<Output = SendResult> + Send + use<>, SendError> {
        let retiring = || SendError::Unavailable("this version of the plugin is being retired".to_owned());
        let permit = WaitingSend(Arc::clone(&self.waiting));
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING_SENDS {
            return Err(SendError::Unavailable(format!("{MAX_WAITING_SENDS} sends of this plugin wait for the bus")));
        }
        let (done, result) = oneshot::channel();
        self.commands.send(LaneCommand::Drive(future, done, permit)).map_err(|_| retiring())?;
        Ok(async move { result.await.unwrap_or_else(|_| Err(retiring())) })
    }
}

/// The body of a lane's thread: runs tasks until the generation retires, and then until they have ended or its deadline.
pub(crate) fn run_lane(
    lane: Lane,
    commands: mpsc::UnboundedReceiver<LaneCommand>,
    retire: watch::Receiver<Option<Instant>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        // Dropping the commands answers their callers.
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
    mut commands: mpsc::UnboundedReceiver<LaneCommand>,
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
                Some(LaneCommand::Task(task)) => drop(tasks.spawn_local(task(lane.clone()))),
                Some(LaneCommand::Drive(future, done, permit)) => drop(sends.spawn_local(drive(future, done, permit))),
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

async fn drive(future: BusFuture, mut done: oneshot::Sender<SendResult>, permit: WaitingSend) {
    let _permit = permit;
    tokio::select! {
        result = future => drop(done.send(result)),
        // Its sender no longer waits.
        () = done.closed() => {}
    }
}

/// Future of the end of a task on a lane.
#[must_use = "a task's panic is reported here"]
pub struct LaneTask(oneshot::Receiver<Result<(), String>>);

/// A task on a lane that ended too early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// It panicked.
    #[error("the worker's task panicked: {0}")]
    Panicked(String),
    /// The generation was retired before the task's end.
    #[error("the plugin's generation is retired")]
    Retired,
}

impl LaneTask {
    /// The command that runs a task, and the future of the task's end.
    pub(crate) fn new<F, Fut>(task: F) -> (LaneCommand, Self)
    where
        F: FnOnce(Lane) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let (done, end) = oneshot::channel();
        let command = LaneCommand::Task(Box::new(move |lane| {
            let task = async move { task(lane).await };
            let task = std::panic::AssertUnwindSafe(task).catch_unwind();
            async move {
                // The caller may have gone.
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
            Err(_) => Err(LaneError::Retired),
        })
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(the panic carries no text)").to_owned()
}
