//! Every order in which the threads of a blocking worker and the callers that leave them can meet, tried by loom on the
//! very file that the host is built from.

#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
#[path = "../src/line.rs"]
mod line;

/// What `line` locks and waits with in the host, in loom's hands.
mod sync {
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

use line::{Line, Ticket};
use loom::thread::{self, JoinHandle};

/// What a caller waits for.
struct Answered(sync::Mutex<bool>, sync::Condvar);

impl Answered {
    fn new() -> Self {
        Self(sync::Mutex::new(false), sync::Condvar::new())
    }

    fn tell(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }

    fn hear(&self) {
        let mut answered = self.0.lock();
        while !*answered {
            answered = sync::wait(&self.1, answered);
        }
    }
}

/// A pool without a plugin: its calls count themselves, and tell their callers.
struct Pool {
    line: Line<usize>,
    // The standard library's, which loom does not explore: these only watch.
    made: [AtomicUsize; 2],
    answered: [Answered; 2],
    /// What stands for the host's own count.
    left_behind: loom::sync::atomic::AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    fn new(limit: usize) -> Arc<Self> {
        let left_behind = loom::sync::atomic::AtomicUsize::new(0);
        let answered = [Answered::new(), Answered::new()];
        Arc::new(Self {
            line: Line::new(limit),
            made: Default::default(),
            answered,
            left_behind,
            threads: Mutex::default(),
        })
    }

    fn call(self: &Arc<Self>, call: usize) -> sync::Arc<Ticket> {
        let ticket = self.line.push(call);
        self.serve();
        ticket
    }

    fn serve(self: &Arc<Self>) {
        if !self.line.wants_thread() {
            return;
        }
        let pool = Arc::clone(self);
        let serving = thread::spawn(move || {
            pool.line.serve(
                |call| {
                    pool.made[call].fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    let pool = Arc::clone(&pool);
                    move || pool.answered[call].tell()
                },
                || {
                    let before = pool.left_behind.fetch_sub(1, Ordering::SeqCst);
                    assert_ne!(before, 0, "a thread came back before it was left");
                },
            );
        });
        self.threads.lock().unwrap().push(serving);
    }

    fn leave(self: &Arc<Self>, ticket: &Ticket) -> bool {
        let left = self.line.leave(ticket, || _ = self.left_behind.fetch_add(1, Ordering::SeqCst));
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
fn model(body: impl Fn() -> Arc<Pool> + Sync + Send + 'static, check: impl Fn(&Pool) + Sync + Send + 'static) {
    let check = Arc::new(check);
    let mut builder = loom::model::Builder::new();
    // With two forced switches each mistake was found that was made on purpose; each more makes it ten times as long.
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let pool = body();
        pool.line.close();
        // loom fails a model whose threads do not end.
        let threads = std::mem::take(&mut *pool.threads.lock().unwrap());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(pool.left_behind.load(Ordering::SeqCst), 0, "a thread that came back is still counted");
        check(&pool);
    });
}

#[test]
fn a_caller_that_has_its_answer_leaves_no_thread_behind() {
    model(
        || {
            let pool = Pool::new(1);
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
            let pool = Pool::new(1);
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
            let pool = Pool::new(1);
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
            let pool = Pool::new(2);
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
