//! Thread pool of one blocking instance: as many threads as its jobs need, up to its `concurrency`.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mshost_core::metrics::Metrics;
use mshost_plugin_api::abi::BlockingInstanceObject;
use tokio::sync::oneshot;

use super::call_queue::{CallQueue, CallTicket};
use super::lane::Lane;
use super::threads::Threads;
use crate::host_services::HostServices;
use crate::panic_site::PluginOwned;

/// A call into the plugin. It returns how to answer its caller; the answer is of the host's own types.
type BlockingCall = Box<dyn FnOnce(&BlockingInstanceObject) -> SendAnswer + Send>;
type SendAnswer = Box<dyn FnOnce()>;

/// Pool that runs calls on threads of the generation. When it is dropped its idle threads end, and the instance with the last.
pub(crate) struct BlockingPool {
    shared: Arc<PoolShared>,
}

struct PoolShared {
    instance: PluginOwned<BlockingInstanceObject>,
    threads: Threads,
    thread_name: String,
    queue: CallQueue<(Instant, BlockingCall)>,
    abandoned: AbandonedThreads,
}

/// Count of threads whose caller has cancelled: of the generation, of the worker's slot, and in the metrics.
struct AbandonedThreads {
    generation: Arc<AtomicUsize>,
    services: Arc<dyn HostServices>,
    metrics: Arc<Metrics>,
}

impl BlockingPool {
    pub(crate) fn new(
        instance: BlockingInstanceObject,
        services: Arc<dyn HostServices>,
        lane: &Lane,
        limit: usize,
    ) -> Self {
        let shared = PoolShared {
            instance: PluginOwned::new(instance),
            threads: lane.0.threads.clone(),
            thread_name: format!("{}-b", lane.0.name),
            queue: CallQueue::new(limit.max(1)),
            abandoned: AbandonedThreads {
                generation: Arc::clone(&lane.0.abandoned),
                services,
                metrics: Arc::clone(&lane.0.metrics),
            },
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn instance(&self) -> &BlockingInstanceObject {
        &self.shared.instance
    }

    /// Runs a call; `None` where no thread can be started. Dropping the future cancels a queued call, or abandons the thread
    /// that runs it: another takes its place, and the thread ends when the call returns.
    pub(crate) fn call<T, C>(&self, call: C) -> impl Future<Output = Option<T>> + use<T, C>
    where
        T: Send + 'static,
        C: FnOnce(&BlockingInstanceObject) -> T + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let call: BlockingCall = Box::new(move |instance| {
            let result = call(instance);
            Box::new(move || _ = done.send(result))
        });
        let since = Instant::now();
        let ticket = self.shared.queue.push((since, call));
        self.shared.serve_queue();
        let guard = CallGuard { shared: Arc::clone(&self.shared), ticket, since };
        async move {
            let result = result.await.ok();
            drop(guard);
            result
        }
    }
}

impl PoolShared {
    /// Has the queued calls run: by an idle thread, a new one, or the next that becomes free.
    fn serve_queue(self: &Arc<Self>) {
        if !self.queue.needs_thread() {
            return;
        }
        let shared = Arc::clone(self);
        let body = move || {
            let latest = Cell::new(Instant::now());
            let run = |(since, call): (Instant, BlockingCall)| {
                latest.set(since);
                call(&shared.instance)
            };
            shared.queue.serve(run, || shared.abandoned.remove(latest.get()));
        };
        if let Err(error) = self.threads.spawn(self.thread_name.clone(), body) {
            tracing::warn!(target: "mshost::plugin", "no thread for a blocking handler: {error}");
            // Dropping the calls that no thread is left to run answers them.
            drop(self.queue.thread_failed());
        }
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

/// Guard of a caller that cancels its call when dropped.
struct CallGuard {
    shared: Arc<PoolShared>,
    ticket: Arc<CallTicket>,
    since: Instant,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if self.shared.queue.cancel(&self.ticket, || self.shared.abandoned.add(self.since)) {
            self.shared.serve_queue();
        }
    }
}

impl AbandonedThreads {
    fn add(&self, since: Instant) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.services.thread_abandoned(since);
        self.metrics.abandoned_threads.inc();
    }

    fn remove(&self, since: Instant) {
        self.generation.fetch_sub(1, Ordering::Relaxed);
        self.services.thread_returned(since);
        self.metrics.abandoned_threads.dec();
    }
}
