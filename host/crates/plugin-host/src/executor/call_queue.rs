//! Queue of blocking calls, served by a limited number of threads, whose callers may cancel at any moment.
//!
//! Invariant: a call runs once, or not at all where its caller cancelled before it started. A thread whose caller cancels during
//! the call counts as abandoned until the call returns, and then ends; another thread takes its place. `tests/models.rs`
//! compiles this file with loom and explores every interleaving of threads and callers.

use std::collections::VecDeque;

use super::call_queue_sync::{Arc, Condvar, Mutex, wait};

/// A queue of calls of type `C` and the state of its threads.
pub(crate) struct CallQueue<C> {
    limit: usize,
    state: Mutex<QueueState<C>>,
    work: Condvar,
}

struct QueueState<C> {
    queue: VecDeque<(C, Arc<CallTicket>)>,
    idle: usize,
    /// Without the abandoned ones.
    threads: usize,
    closed: bool,
}

/// The state of one call, shared by its caller and the thread that runs it.
pub(crate) struct CallTicket(Mutex<CallState>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallState {
    Queued,
    Running,
    Cancelled,
    Abandoned,
    Done,
}

impl<C> CallQueue<C> {
    /// An empty queue, to be served by at most `limit` threads at a time.
    pub(crate) fn new(limit: usize) -> Self {
        let state = QueueState { queue: VecDeque::new(), idle: 0, threads: 0, closed: false };
        Self { limit, state: Mutex::new(state), work: Condvar::new() }
    }

    /// Adds a call. Call [`CallQueue::needs_thread`] next.
    pub(crate) fn push(&self, call: C) -> Arc<CallTicket> {
        let ticket = Arc::new(CallTicket(Mutex::new(CallState::Queued)));
        self.state.lock().queue.push_back((call, Arc::clone(&ticket)));
        ticket
    }

    /// Wakes an idle thread. `true` where another has to be started; it is counted from now on.
    pub(crate) fn needs_thread(&self) -> bool {
        let mut state = self.state.lock();
        if state.idle > 0 {
            self.work.notify_one();
        }
        let needs = state.idle < state.queue.len() && state.threads < self.limit;
        state.threads += usize::from(needs);
        needs
    }

    /// Notes that the thread could not be started. Returns the queued calls where no thread is left to run them.
    pub(crate) fn thread_failed(&self) -> VecDeque<(C, Arc<CallTicket>)> {
        let mut state = self.state.lock();
        state.threads -= 1;
        if state.threads == 0 { std::mem::take(&mut state.queue) } else { VecDeque::new() }
    }

    /// Lets the threads end once the queued calls have run.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
    }

    /// The body of a thread: runs calls until the queue is closed or the thread was abandoned. `run` returns how to answer the
    /// caller, which is done once the call counts as over, so that a caller with its answer never abandons a thread.
    /// `returned` is called where the thread had been abandoned.
    pub(crate) fn serve<A: FnOnce()>(&self, mut run: impl FnMut(C) -> A, returned: impl FnOnce()) {
        while let Some((call, ticket)) = self.next() {
            if !ticket.begin() {
                continue;
            }
            let answer = run(call);
            let is_counted = ticket.finish();
            answer();
            if !is_counted {
                returned();
                return;
            }
        }
        self.state.lock().threads -= 1;
    }

    fn next(&self) -> Option<(C, Arc<CallTicket>)> {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.queue.pop_front() {
                return Some(work);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = wait(&self.work, state);
            state.idle -= 1;
        }
    }

    /// Ends the caller's interest in its call, whether it has the result or not. `true` where that abandons a thread: then
    /// `abandoned` is called before the thread can return, and [`CallQueue::needs_thread`] is to be called next.
    pub(crate) fn cancel(&self, ticket: &CallTicket, abandoned: impl FnOnce()) -> bool {
        let mut state = ticket.0.lock();
        match *state {
            CallState::Queued => *state = CallState::Cancelled,
            CallState::Running => {
                *state = CallState::Abandoned;
                abandoned();
                self.state.lock().threads -= 1;
                return true;
            }
            CallState::Cancelled | CallState::Abandoned | CallState::Done => {}
        }
        false
    }
}

impl CallTicket {
    /// Marks the call as running; `false` where it was cancelled.
    fn begin(&self) -> bool {
        let mut state = self.0.lock();
        let queued = *state == CallState::Queued;
        if queued {
            *state = CallState::Running;
        }
        queued
    }

    /// Marks the call as done; `false` where its thread was abandoned meanwhile.
    fn finish(&self) -> bool {
        let mut state = self.0.lock();
        let is_counted = *state == CallState::Running;
        if is_counted {
            *state = CallState::Done;
        }
        is_counted
    }
}
