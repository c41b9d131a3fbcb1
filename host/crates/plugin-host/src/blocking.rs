//! The threads of one blocking instance: as many as its jobs need, up to its `concurrency`.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mshost_core::metrics::Metrics;
use mshost_plugin_api::abi::BlockingInstanceObject;
use tokio::sync::oneshot;

use super::lane::Lane;
use super::line::{Line, Ticket};
use super::panics::Owned;
use super::services::InstanceServices;
use super::threads::Threads;

/// A call into the plugin, which gives back how to answer its caller. The answer is of the host's own types.
type Call = Box<dyn FnOnce(&BlockingInstanceObject) -> Answer + Send>;
type Answer = Box<dyn FnOnce()>;

/// Runs calls on threads of the generation. Dropped, its idle threads end, and the instance with the last of them.
pub(super) struct BlockingPool {
    shared: Arc<Shared>,
}

struct Shared {
    instance: Owned<BlockingInstanceObject>,
    threads: Threads,
    thread_name: String,
    line: Line<(Instant, Call)>,
    abandoned: Abandoned,
}

/// Counts threads whose caller has left: of the generation, of the worker's slot, and in the metrics.
struct Abandoned {
    generation: Arc<AtomicUsize>,
    services: Arc<InstanceServices>,
    metrics: Arc<Metrics>,
}

impl BlockingPool {
    pub(super) fn new(
        instance: BlockingInstanceObject,
        services: &Arc<InstanceServices>,
        lane: &Lane,
        limit: usize,
    ) -> Self {
        let shared = Shared {
            instance: Owned::new(instance),
            threads: lane.0.threads.clone(),
            thread_name: format!("{}-b", lane.0.name),
            line: Line::new(limit.max(1)),
            abandoned: Abandoned {
                generation: Arc::clone(&lane.0.abandoned),
                services: Arc::clone(services),
                metrics: Arc::clone(&lane.0.metrics),
            },
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
        let call: Call = Box::new(move |instance| {
            let result = call(instance);
            Box::new(move || _ = done.send(result))
        });
        let since = Instant::now();
        let ticket = self.shared.line.push((since, call));
        self.shared.serve_line();
        let caller = Caller { shared: Arc::clone(&self.shared), ticket, since };
        async move {
            let result = result.await.ok();
            drop(caller);
            result
        }
    }
}

impl Shared {
    /// Sees to it that somebody makes the calls that wait: an idle thread, a new one, or the next that becomes free.
    fn serve_line(self: &Arc<Self>) {
        if !self.line.wants_thread() {
            return;
        }
        let shared = Arc::clone(self);
        let body = move || {
            let latest = Cell::new(Instant::now());
            let make = |(since, call): (Instant, Call)| {
                latest.set(since);
                call(&shared.instance)
            };
            shared.line.serve(make, || shared.abandoned.remove(latest.get()));
        };
        if let Err(error) = self.threads.spawn(self.thread_name.clone(), body) {
            tracing::warn!(target: "mshost::plugin", "no thread for a blocking handler: {error}");
            // Dropping those that nobody is left to make answers them.
            drop(self.line.no_thread());
        }
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        self.shared.line.close();
    }
}

/// The caller's hold on its call.
struct Caller {
    shared: Arc<Shared>,
    ticket: Arc<Ticket>,
    since: Instant,
}

impl Drop for Caller {
    fn drop(&mut self) {
        if self.shared.line.leave(&self.ticket, || self.shared.abandoned.add(self.since)) {
            self.shared.serve_line();
        }
    }
}

impl Abandoned {
    fn add(&self, since: Instant) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.services.host().thread_left(since);
        self.metrics.abandoned_threads.inc();
    }

    fn remove(&self, since: Instant) {
        self.generation.fetch_sub(1, Ordering::Relaxed);
        self.services.host().thread_returned(since);
        self.metrics.abandoned_threads.dec();
    }
}
