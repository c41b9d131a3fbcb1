//! Model of the queue of blocking calls: loom explores every interleaving of its threads and of callers that cancel, on the
//! very file that the host is built from.

#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
#[path = "../src/executor/call_queue.rs"]
mod call_queue;

/// The locks of `call_queue`, as loom's.
mod call_queue_sync {
    pub(super) use loom::sync::Arc;
    use loom::sync::LockResult;
    pub(super) use loom::sync::{Condvar, MutexGuard};

    fn unpoisoned<T>(result: LockResult<T>) -> T {
        result.unwrap()
    }

    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> MutexGuard<'_, T> {
            unpoisoned(self.0.lock())
        }
    }

    pub(super) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        unpoisoned(condvar.wait(guard))
    }
}

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use call_queue::{CallQueue, CallTicket};
use loom::thread::{self, JoinHandle};

/// What a caller waits for.
struct Answered(call_queue_sync::Mutex<bool>, call_queue_sync::Condvar);

impl Answered {
    fn new() -> Self {
        Self(call_queue_sync::Mutex::new(false), call_queue_sync::Condvar::new())
    }

    fn tell(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }

    fn hear(&self) {
        let mut answered = self.0.lock();
        while !*answered {
            answered = call_queue_sync::wait(&self.1, answered);
        }
    }
}

/// A pool without a plugin: its calls count themselves, and tell their callers.
struct ModelPool {
    queue: CallQueue<usize>,
    // The standard library's, which loom does not explore: these only watch.
    made: [AtomicUsize; 2],
    answered: [Answered; 2],
    /// What stands for the host's own count.
    abandoned: loom::sync::atomic::AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl ModelPool {
    fn new(limit: usize) -> Arc<Self> {
        let abandoned = loom::sync::atomic::AtomicUsize::new(0);
        let answered = [Answered::new(), Answered::new()];
        Arc::new(Self {
            queue: CallQueue::new(limit),
            made: Default::default(),
            answered,
            abandoned,
            threads: Mutex::default(),
        })
    }

    fn call(self: &Arc<Self>, call: usize) -> call_queue_sync::Arc<CallTicket> {
        let ticket = self.queue.push(call);
        self.serve();
        ticket
    }

    fn serve(self: &Arc<Self>) {
        if !self.queue.needs_thread() {
            return;
        }
        let pool = Arc::clone(self);
        let serving = thread::spawn(move || {
            pool.queue.serve(
                |call| {
                    pool.made[call].fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    let pool = Arc::clone(&pool);
                    move || pool.answered[call].tell()
                },
                || {
                    let before = pool.abandoned.fetch_sub(1, Ordering::SeqCst);
                    assert_ne!(before, 0, "a thread came back before it was left");
                },
            );
        });
        self.threads.lock().unwrap().push(serving);
    }

    fn leave(self: &Arc<Self>, ticket: &CallTicket) -> bool {
        let left = self.queue.cancel(ticket, || _ = self.abandoned.fetch_add(1, Ordering::SeqCst));
        if left {
            self.serve();
        }
        left
    }

    fn made(&self, call: usize) -> usize {
        self.made[call].load(Ordering::SeqCst)
    }
}

/// Runs a model to the end of all of its threads, in every order, and looks at what is left.
fn model(
    body: impl Fn() -> Arc<ModelPool> + Sync + Send + 'static,
    check: impl Fn(&ModelPool) + Sync + Send + 'static,
) {
    let check = Arc::new(check);
    let mut builder = loom::model::Builder::new();
    // With two forced switches each mistake was found that was made on purpose; each more makes it ten times as long.
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let pool = body();
        pool.queue.close();
        // loom fails a model whose threads do not end.
        let threads = std::mem::take(&mut *pool.threads.lock().unwrap());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(pool.abandoned.load(Ordering::SeqCst), 0, "a thread that came back is still counted");
        check(&pool);
    });
}

#[test]
fn a_caller_that_has_its_answer_leaves_no_thread_behind() {
    model(
        || {
            let pool = ModelPool::new(1);
            let ticket = pool.call(0);
            pool.answered[0].hear();
            assert!(!pool.leave(&ticket), "its thread was counted as left behind");
            pool
        },
        |pool| assert_eq!(pool.made(0), 1),
    );
}

#[test]
fn a_caller_that_leaves_has_its_call_made_once_or_not_at_all() {
    model(
        || {
            let pool = ModelPool::new(1);
            let ticket = pool.call(0);
            pool.leave(&ticket);
            assert!(!pool.leave(&ticket), "leaving twice leaves no second thread behind");
            pool
        },
        |pool| assert!(pool.made(0) <= 1),
    );
}

#[test]
fn a_call_behind_one_that_is_abandoned_is_still_made() {
    model(
        || {
            let pool = ModelPool::new(1);
            let first = pool.call(0);
            let _second = pool.call(1);
            pool.leave(&first);
            pool
        },
        |pool| assert!(pool.made(0) <= 1 && pool.made(1) == 1, "{} {}", pool.made(0), pool.made(1)),
    );
}

#[test]
fn callers_that_come_and_go_at_once_lose_no_call() {
    model(
        || {
            let pool = ModelPool::new(2);
            let other = Arc::clone(&pool);
            let coming = thread::spawn(move || _ = other.call(1));
            let ticket = pool.call(0);
            pool.leave(&ticket);
            coming.join().unwrap();
            pool
        },
        |pool| assert!(pool.made(0) <= 1 && pool.made(1) == 1),
    );
}
