//! The one thread that writes: a commit for all that has gathered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_core::metrics::Metrics;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::Change;
use super::store::Store;

/// How long the writer waits before it tries again what a full or broken disk has refused.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How long a closed journal waits for senders whose jobs are written and who have not been told yet that the bus is closed.
const LINGER: Duration = Duration::from_secs(1);
/// The most changes of one commit, so that nobody waits for long behind others.
const MOST_AT_ONCE: usize = 1_024;

/// A change, and who waits for it.
pub(super) struct Noted {
    pub(super) change: Change,
    pub(super) answer: Option<oneshot::Sender<Result<(), String>>>,
}

/// The changes that nobody has written yet.
#[derive(Default)]
pub(super) struct Pending {
    queue: Mutex<Queue>,
    added: Condvar,
}

#[derive(Default)]
struct Queue {
    changes: Vec<Noted>,
    /// How many more the writer has in hand.
    in_hand: usize,
    /// Senders whose jobs may be written and are not yet accepted or refused.
    undecided: usize,
    /// No more jobs; what concerns old ones is still written.
    closed: bool,
    /// Nothing more is written.
    ended: bool,
}

impl Pending {
    /// Adds one, to be written soon. What comes too late is dropped, and whoever waits hears so.
    pub(super) fn add(&self, noted: Noted) {
        let mut queue = self.queue.lock();
        if queue.ended || queue.closed && matches!(noted.change, Change::Insert(..)) {
            drop(queue);
            return drop(noted);
        }
        queue.changes.push(noted);
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
    pub(super) fn undecided(self: &Arc<Self>) -> Undecided {
        self.queue.lock().undecided += 1;
        Undecided(Arc::clone(self))
    }

    /// Waits for changes, or for the time to try old ones again; appends them. `false` once closed and empty.
    fn take(&self, batch: &mut Vec<Noted>) -> bool {
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

/// Held until a sender's job is accepted, or its removal noted: a journal that closes in between would keep a refused job.
pub(crate) struct Undecided(Arc<Pending>);

impl Drop for Undecided {
    fn drop(&mut self) {
        self.0.queue.lock().undecided -= 1;
        self.0.added.notify_one();
    }
}

/// See the module.
pub(super) struct Writer {
    store: Store,
    pending: Arc<Pending>,
    metrics: Option<Arc<Metrics>>,
    /// The last commit failed; said once.
    failing: bool,
}

impl Writer {
    pub(super) fn new(store: Store, pending: Arc<Pending>, metrics: Option<Arc<Metrics>>) -> Self {
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
    fn write(&mut self, batch: Vec<Noted>) -> Vec<Noted> {
        match self.store.commit(batch.iter().map(|noted| &noted.change)) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(target: "mshost::bus", "the journal {} can be written again", self.store.file().display());
                }
                batch.into_iter().filter_map(|noted| noted.answer).for_each(|answer| drop(answer.send(Ok(()))));
                Vec::new()
            }
            Err(error) => {
                self.failed(&error);
                batch.into_iter().filter_map(|noted| refuse(noted, &error)).collect()
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

fn refuse(noted: Noted, error: &str) -> Option<Noted> {
    if !matches!(noted.change, Change::Insert(..)) {
        return Some(noted);
    }
    if let Some(answer) = noted.answer {
        let _ = answer.send(Err(error.to_owned()));
    }
    None
}
