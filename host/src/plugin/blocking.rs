//! The threads of one blocking instance: as many as its jobs need, up to its `concurrency`.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mshost_plugin_api::abi::BlockingInstanceObject;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::lane::Lane;
use super::threads::Threads;
use crate::metrics::Metrics;

/// A call into the plugin. Its result is of the host's own types.
type Call = Box<dyn FnOnce(&BlockingInstanceObject) + Send>;

/// Runs calls on threads of the generation. Dropped, its idle threads end, and the instance with the last of them.
pub(super) struct BlockingPool {
    shared: Arc<Shared>,
}

struct Shared {
    instance: BlockingInstanceObject,
    threads: Threads,
    thread_name: String,
    limit: usize,
    state: Mutex<State>,
    work: Condvar,
    abandoned: Abandoned,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Call, Arc<Ticket>)>,
    idle: usize,
    threads: usize,
    closed: bool,
}

/// Counts threads whose caller has left: of the generation, and in the metrics.
struct Abandoned {
    generation: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// Where a call is.
struct Ticket(Mutex<Stage>);

#[derive(PartialEq)]
enum Stage {
    Queued,
    Running,
    Cancelled,
    Abandoned,
    Done,
}

impl BlockingPool {
    pub(super) fn new(instance: BlockingInstanceObject, lane: &Lane, limit: usize) -> Self {
        let shared = Shared {
            instance,
            threads: lane.0.threads.clone(),
            thread_name: format!("{}-b", lane.0.name),
            limit: limit.max(1),
            state: Mutex::default(),
            work: Condvar::new(),
            abandoned: Abandoned { generation: Arc::clone(&lane.0.abandoned), metrics: Arc::clone(&lane.0.metrics) },
        };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn instance(&self) -> &BlockingInstanceObject {
        &self.shared.instance
    }

    /// Makes a call. `None` where no thread can be had. Dropping the future takes the call back, or abandons the thread
    /// that makes it: another takes its place, and the thread ends when the call returns.
    pub(super) fn call<T, C>(&self, call: C) -> impl Future<Output = Option<T>> + use<T, C>
    where
        T: Send + 'static,
        C: FnOnce(&BlockingInstanceObject) -> T + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let ticket = Arc::new(Ticket(Mutex::new(Stage::Queued)));
        let call: Call = Box::new(move |instance| _ = done.send(call(instance)));
        self.shared.state.lock().queue.push_back((call, Arc::clone(&ticket)));
        self.shared.serve_queue();
        let caller = Caller { shared: Arc::clone(&self.shared), ticket };
        async move {
            let result = result.await.ok();
            drop(caller);
            result
        }
    }
}

impl Shared {
    /// Sees to it that somebody makes the calls that wait: an idle thread, a new one, or the next that becomes free.
    fn serve_queue(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.idle > 0 {
            self.work.notify_one();
        }
        if state.idle >= state.queue.len() || state.threads >= self.limit {
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(self);
        if let Err(error) = self.threads.spawn(self.thread_name.clone(), move || work(&shared)) {
            tracing::warn!("no thread for a blocking handler: {error}");
            let mut state = self.state.lock();
            state.threads -= 1;
            if state.threads == 0 {
                // Nobody is left to make these calls; dropping them answers them.
                state.queue.clear();
            }
        }
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.work.notify_all();
    }
}

/// The caller's hold on its call.
struct Caller {
    shared: Arc<Shared>,
    ticket: Arc<Ticket>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        let mut stage = self.ticket.0.lock();
        match *stage {
            Stage::Queued => *stage = Stage::Cancelled,
            Stage::Running => {
                *stage = Stage::Abandoned;
                self.shared.abandoned.add();
                self.shared.state.lock().threads -= 1;
                self.shared.serve_queue();
            }
            Stage::Cancelled | Stage::Abandoned | Stage::Done => {}
        }
    }
}

impl Abandoned {
    fn add(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.metrics.abandoned_threads.inc();
    }

    fn remove(&self) {
        self.generation.fetch_sub(1, Ordering::Relaxed);
        self.metrics.abandoned_threads.dec();
    }
}

/// The body of a thread.
fn work(shared: &Shared) {
    while let Some((call, ticket)) = next(shared) {
        {
            let mut stage = ticket.0.lock();
            if *stage == Stage::Cancelled {
                continue;
            }
            *stage = Stage::Running;
        }
        call(&shared.instance);
        let mut stage = ticket.0.lock();
        if *stage == Stage::Abandoned {
            shared.abandoned.remove();
            return;
        }
        *stage = Stage::Done;
    }
    shared.state.lock().threads -= 1;
}

fn next(shared: &Shared) -> Option<(Call, Arc<Ticket>)> {
    let mut state = shared.state.lock();
    loop {
        if let Some(work) = state.queue.pop_front() {
            return Some(work);
        }
        if state.closed {
            return None;
        }
        state.idle += 1;
        shared.work.wait(&mut state);
        state.idle -= 1;
    }
}
