//! Set of a generation's threads, counted until the last one has ended.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::loader::ThreadKeys;

/// The threads that may run a plugin's code. Clones share the set.
#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<ThreadSet>);

#[derive(Default)]
struct ThreadSet {
    handles: Mutex<Vec<JoinHandle<()>>>,
    running: Mutex<usize>,
    /// The pthread keys that the library has set on threads that have ended.
    keys: Mutex<ThreadKeys>,
    ended: Condvar,
}

/// Guard that removes a thread from the count when its body has ended, even by a panic.
struct RunningThread(Arc<ThreadSet>);

impl Drop for RunningThread {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.ended.notify_all();
    }
}

impl Threads {
    /// Starts a thread.
    pub(crate) fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        *self.0.running.lock() += 1;
        let running = RunningThread(Arc::clone(&self.0));
        let handle = thread::Builder::new().name(name).spawn(move || {
            let ((), keys) = ThreadKeys::during(body);
            running.0.keys.lock().extend(keys);
            drop(running);
        })?;
        let mut handles = self.0.handles.lock();
        // Threads that have ended leave the list here, so that it does not grow.
        handles.retain(|handle| !handle.is_finished());
        handles.push(handle);
        Ok(())
    }

    /// Takes the pthread keys that the library has set on threads that have ended.
    pub(crate) fn keys(&self) -> ThreadKeys {
        std::mem::take(&mut *self.0.keys.lock())
    }

    /// Waits until all threads have ended, with their thread-locals. Returns how many have not by `deadline`.
    pub(crate) fn join_until(&self, deadline: Instant) -> usize {
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
