//! The thread that writes the journal: one commit for all changes that have gathered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_core::metrics::Metrics;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::change::JournalChange;
use super::store::JournalStore;

/// How long the writer waits before it tries again what a full or broken disk has refused.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How long a closed journal waits for senders whose jobs are written and that have not been told yet that the bus is closed.
const LINGER: Duration = Duration::from_secs(1);
/// The most changes of one commit, so that no change waits for long behind others.
const MOST_AT_ONCE: usize = 1_024;

/// A change, and the answer that is waited for.
pub(super) struct PendingChange {
    pub(super) change: JournalChange,
    pub(super) answer: Option<oneshot::Sender<Result<(), String>>>,
}

/// The changes that are not written yet.
#[derive(Default)]
pub(super) struct PendingChanges {
    queue: Mutex<ChangeQueue>,
    added: Condvar,
}

#[derive(Default)]
struct ChangeQueue {
    changes: Vec<PendingChange>,
    /// How many more the writer has in hand.
    in_hand: usize,
    /// Senders whose jobs may be written and are not yet accepted or refused.
    undecided: usize,
    /// No more jobs; what concerns old ones is still written.
    closed: bool,
    /// Nothing more is written.
    ended: bool,
}

impl PendingChanges {
    /// Adds one, to be written soon. What comes too late is dropped, which ends the wait for it.
    pub(super) fn add(&self, pending_change: PendingChange) {
        let mut queue = self.queue.lock();
        if queue.ended || queue.closed && matches!(pending_change.change, JournalChange::Insert(..)) {
            drop(queue);
            return drop(pending_change);
        }
        queue.changes.push(pending_change);
        // Otherwise the writer knows already.
        if queue.changes.len() == 1 {
            self.added.notify_one();
        }
    }

    pub(super) fn len(&self) -> usize {
        let queue = self.queue.lock();
        queue.changes.len() + queue.in_hand
    }

    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.added.notify_one();
    }

    /// A sender whose job is about to be written.
    pub(super) fn undecided(self: &Arc<Self>) -> UndecidedSend {
        self.queue.lock().undecided += 1;
        UndecidedSend(Arc::clone(self))
    }

    /// Waits for changes, or for the time to try old ones again; appends them. `false` once closed and empty.
    fn take(&self, batch: &mut Vec<PendingChange>) -> bool {
        let mut queue = self.queue.lock();
        let mut linger = None;
        while queue.changes.is_empty() {
            let until = match (queue.closed, queue.undecided) {
                (true, 0) => break,
                (true, _) => *linger.get_or_insert_with(|| Instant::now() + LINGER),
                (false, _) if batch.is_empty() => {
                    self.added.wait(&mut queue);
                    continue;
                }
                (false, _) => Instant::now() + TRY_AGAIN,
            };
            if self.added.wait_until(&mut queue, until).timed_out() {
                break;
            }
        }
        queue.ended = queue.closed && queue.changes.is_empty();
        batch.append(&mut queue.changes);
        queue.in_hand = batch.len();
        !queue.ended
    }

    fn set_in_hand(&self, count: usize) {
        self.queue.lock().in_hand = count;
    }
}

/// Unacked until a sender's job is accepted, or its removal pending_change: a journal that closes in between would keep a refused job.
pub(crate) struct UndecidedSend(Arc<PendingChanges>);

impl Drop for UndecidedSend {
    fn drop(&mut self) {
        self.0.queue.lock().undecided -= 1;
        self.0.added.notify_one();
    }
}

/// The thread's state.
pub(super) struct JournalWriter {
    store: JournalStore,
    pending: Arc<PendingChanges>,
    metrics: Option<Arc<Metrics>>,
    /// The last commit failed; said once.
    failing: bool,
}

impl JournalWriter {
    pub(super) fn new(store: JournalStore, pending: Arc<PendingChanges>, metrics: Option<Arc<Metrics>>) -> Self {
        Self { store, pending, metrics, failing: false }
    }

    /// Writes until the journal is closed and all is written, or cannot be.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let open = self.pending.take(&mut batch);
            while !batch.is_empty() {
                let later = batch.split_off(batch.len().min(MOST_AT_ONCE));
                batch = self.write(batch);
                batch.extend(later);
                self.pending.set_in_hand(batch.len());
                if self.failing {
                    break;
                }
            }
            if !open {
                break;
            }
        }
        if !batch.is_empty() {
            tracing::error!(
                target: "mshost::bus",
                "{} changes could not be written to the journal {}: jobs that are done will come again",
                batch.len(),
                self.store.file().display()
            );
        }
    }

    /// Commits a batch and answers. Where that fails new jobs are refused, and what concerns accepted ones is given back.
    fn write(&mut self, batch: Vec<PendingChange>) -> Vec<PendingChange> {
        match self.store.commit(batch.iter().map(|pending_change| &pending_change.change)) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(target: "mshost::bus", "the journal {} can be written again", self.store.file().display());
                }
                batch
                    .into_iter()
                    .filter_map(|pending_change| pending_change.answer)
                    .for_each(|answer| drop(answer.send(Ok(()))));
                Vec::new()
            }
            Err(error) => {
                self.failed(&error);
                batch.into_iter().filter_map(|pending_change| refuse(pending_change, &error)).collect()
            }
        }
    }

    fn failed(&mut self, error: &str) {
        if let Some(metrics) = &self.metrics {
            metrics.journal_errors.inc();
        }
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(target: "mshost::bus", "no new jobs can be accepted: {error}");
        }
    }
}

fn refuse(pending_change: PendingChange, error: &str) -> Option<PendingChange> {
    if !matches!(pending_change.change, JournalChange::Insert(..)) {
        return Some(pending_change);
    }
    if let Some(answer) = pending_change.answer {
        let _ = answer.send(Err(error.to_owned()));
    }
    None
}
