//! The threads of one generation, counted until the last one has ended.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::library::Keys;

/// Threads that may run a plugin's code. Cloning shares the set.
#[derive(Clone, Default)]
pub(super) struct Threads(Arc<Inner>);

#[derive(Default)]
struct Inner {
    handles: Mutex<Vec<JoinHandle<()>>>,
    running: Mutex<usize>,
    /// Those of the library that the threads run.
    keys: Mutex<Keys>,
    ended: Condvar,
}

/// Counts a thread out when its body has ended, however it did.
struct Running(Arc<Inner>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.ended.notify_all();
    }
}

impl Threads {
    /// Starts one.
    pub(super) fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        *self.0.running.lock() += 1;
        let running = Running(Arc::clone(&self.0));
        let handle = thread::Builder::new().name(name).spawn(move || {
            let ((), keys) = Keys::during(body);
            running.0.keys.lock().extend(keys);
            drop(running);
        })?;
        let mut handles = self.0.handles.lock();
        // Those that ended on their own are let go of here, so that the list stays as long as the set.
        handles.retain(|handle| !handle.is_finished());
        handles.push(handle);
        Ok(())
    }

    /// The keys that the library has set on those that have ended.
    pub(super) fn keys(&self) -> Keys {
        std::mem::take(&mut *self.0.keys.lock())
    }

    /// Waits until all have ended, thread-locals and all; how many have not by `deadline`.
    pub(super) fn join_until(&self, deadline: Instant) -> usize {
        let mut running = self.0.running.lock();
        while *running > 0 && !self.0.ended.wait_until(&mut running, deadline).timed_out() {}
        let left = *running;
        drop(running);
        if left == 0 {
            for handle in self.0.handles.lock().drain(..) {
                // Its body is over; only its thread-locals are still being dropped. A panic was caught or has been logged.
                let _ = handle.join();
            }
        }
        left
    }
}
