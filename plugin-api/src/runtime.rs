//! Tokio runtime of a plugin, for timers, sockets and spawned tasks. A plugin cannot use its host's.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};

/// The most threads that `tokio::task::spawn_blocking` may use in one plugin.
const MAX_BLOCKING_THREADS: usize = 64;

/// The runtime of a plugin, from its `init` to its `shutdown`.
pub(crate) struct PluginRuntime {
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
    threads: Arc<AtomicUsize>,
}

impl PluginRuntime {
    /// Starts a runtime with one thread, and more for blocking calls.
    pub(crate) fn start(plugin: &str) -> std::io::Result<Self> {
        let threads = Arc::new(AtomicUsize::new(0));
        let (started, stopped) = (Arc::clone(&threads), Arc::clone(&threads));
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .thread_name(format!("{plugin}-rt"))
            .on_thread_start(move || _ = started.fetch_add(1, Ordering::AcqRel))
            .on_thread_stop(move || _ = stopped.fetch_sub(1, Ordering::AcqRel))
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)), threads })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Drops every task and ends the threads. `true` where all of them have ended within `limit`.
    pub(crate) fn shutdown(&self, limit: Duration) -> bool {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            // Joins the threads, unless the limit ends first.
            runtime.shutdown_timeout(limit);
        }
        self.threads.load(Ordering::Acquire) == 0
    }
}

thread_local! {
    static ON_LANE: Cell<bool> = const { Cell::new(false) };
}

/// Guard of a poll on a thread of the host: the thread has the plugin's runtime and must not block.
pub(crate) struct InPoll<'a> {
    _runtime: EnterGuard<'a>,
    outer: bool,
}

impl<'a> InPoll<'a> {
    pub(crate) fn enter(handle: &'a Handle) -> Self {
        Self { _runtime: handle.enter(), outer: ON_LANE.replace(true) }
    }
}

impl Drop for InPoll<'_> {
    fn drop(&mut self) {
        ON_LANE.set(self.outer);
    }
}

/// Whether this thread must not block.
pub(crate) fn in_poll() -> bool {
    ON_LANE.get()
}
