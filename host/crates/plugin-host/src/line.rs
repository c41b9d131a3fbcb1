//! Calls that wait for a thread, the threads that make them, and callers that may leave at any moment.
//!
//! A call is made once, or not at all where its caller left before it was begun. A thread whose caller leaves while it makes
//! the call is counted as left behind until the call returns, and then ends; another takes its place. `tests/models.rs`
//! compiles this file and tries every order in which threads and callers can meet.

use std::collections::VecDeque;

use super::sync::{Arc, Condvar, Mutex, wait};

/// See the module.
pub(super) struct Line<C> {
    limit: usize,
    state: Mutex<State<C>>,
    work: Condvar,
}

struct State<C> {
    queue: VecDeque<(C, Arc<Ticket>)>,
    idle: usize,
    /// Without those left behind.
    threads: usize,
    closed: bool,
}

/// Where a call is.
pub(super) struct Ticket(Mutex<Stage>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queued,
    Running,
    Cancelled,
    Abandoned,
    Done,
}

impl<C> Line<C> {
    /// One that is served by at most `limit` threads at a time.
    pub(super) fn new(limit: usize) -> Self {
        let state = State { queue: VecDeque::new(), idle: 0, threads: 0, closed: false };
        Self { limit, state: Mutex::new(state), work: Condvar::new() }
    }

    /// Adds a call. [`Line::wants_thread`] is to be asked next.
    pub(super) fn push(&self, call: C) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket(Mutex::new(Stage::Queued)));
        self.state.lock().queue.push_back((call, Arc::clone(&ticket)));
        ticket
    }

    /// Wakes a thread that is idle. Whether another is to be started, which is counted as one from now on.
    pub(super) fn wants_thread(&self) -> bool {
        let mut state = self.state.lock();
        if state.idle > 0 {
            self.work.notify_one();
        }
        let wants = state.idle < state.queue.len() && state.threads < self.limit;
        state.threads += usize::from(wants);
        wants
    }

    /// There is no such thread. Gives back the calls that nobody is left to make.
    pub(super) fn no_thread(&self) -> VecDeque<(C, Arc<Ticket>)> {
        let mut state = self.state.lock();
        state.threads -= 1;
        if state.threads == 0 { std::mem::take(&mut state.queue) } else { VecDeque::new() }
    }

    /// What waits is still done; then the threads end.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
    }

    /// The body of a thread. `make` gives back how to answer the caller, which is done once the call counts as over: a caller
    /// that has its answer leaves nobody behind. `returned` is called where the thread had been left behind.
    pub(super) fn serve<A: FnOnce()>(&self, mut make: impl FnMut(C) -> A, returned: impl FnOnce()) {
        while let Some((call, ticket)) = self.next() {
            if !ticket.begin() {
                continue;
            }
            let answer = make(call);
            let belongs = ticket.finish();
            answer();
            if !belongs {
                returned();
                return;
            }
        }
        self.state.lock().threads -= 1;
    }

    fn next(&self) -> Option<(C, Arc<Ticket>)> {
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

    /// A caller leaves, whether it has its result or not. Where that leaves a thread behind, `left` is called, before the
    /// thread can return; and [`Line::wants_thread`] is to be asked next.
    pub(super) fn leave(&self, ticket: &Ticket, left: impl FnOnce()) -> bool {
        let mut stage = ticket.0.lock();
        match *stage {
            Stage::Queued => *stage = Stage::Cancelled,
            Stage::Running => {
                *stage = Stage::Abandoned;
                left();
                self.state.lock().threads -= 1;
                return true;
            }
            Stage::Cancelled | Stage::Abandoned | Stage::Done => {}
        }
        false
    }
}

impl Ticket {
    /// Whether the call is to be made.
    fn begin(&self) -> bool {
        let mut stage = self.0.lock();
        let wanted = *stage == Stage::Queued;
        if wanted {
            *stage = Stage::Running;
        }
        wanted
    }

    /// The call has returned. Whether its thread still belongs to the line.
    fn finish(&self) -> bool {
        let mut stage = self.0.lock();
        let belongs = *stage == Stage::Running;
        if belongs {
            *stage = Stage::Done;
        }
        belongs
    }
}
