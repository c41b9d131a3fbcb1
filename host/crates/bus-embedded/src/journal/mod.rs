//! The journal: accepted jobs and dead letters on disk, where they outlive the host.
//!
//! The journal is the memory of the bus written down, and is read only when a bus is opened. One thread writes: it takes
//! whatever has gathered since its last commit and commits that at once, so that the cost of a commit is shared by all that
//! wait for it. Changes keep their order. Only [`Journal::insert`] waits for its commit, because `send` promises that the job
//! will not be lost; a job that was settled a moment before a crash comes again, which *at least once* allows.

mod change;
mod job_rows;
mod lock_holder;
mod record_id;
mod restored;
mod store;
mod writer;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use mshost_bus::{BusError, BusLimits, Codec, Job, JournalConfig, SendError};
use mshost_core::metrics::Metrics;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

pub(super) use self::change::JournalChange;
use self::job_rows::JobRow;
pub(super) use self::record_id::RecordId;
pub(super) use self::restored::{JournalPurpose, Restored, RestoredJob, UnreadableJob};
use self::store::JournalStore;
pub(super) use self::writer::UndecidedSend;
use self::writer::{JournalWriter, PendingChange, PendingChanges};

/// The changes that may wait to be written before consumers that settle jobs have to wait with them.
const MOST_WAITING: usize = 8_192;

/// An open journal, which no other process has.
pub(super) struct Journal {
    pending: Arc<PendingChanges>,
    records: AtomicI64,
    /// One for each sender whose job is being written.
    senders: Semaphore,
    send_timeout: Duration,
    file: PathBuf,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal in a folder and reads what it is opened for.
    ///
    /// # Errors
    /// [`BusError::Refused`] with the file and what to do.
    pub(super) fn open(
        purpose: JournalPurpose,
        config: &JournalConfig,
        codec: Codec,
        limits: &BusLimits,
        metrics: Option<Arc<Metrics>>,
    ) -> Result<(Self, Restored), BusError> {
        let store = JournalStore::open(config, codec, purpose)?;
        let (restored, last) = store.load(codec, purpose)?;
        let file = store.file().to_owned();
        let pending = Arc::new(PendingChanges::default());
        let writer = JournalWriter::new(store, Arc::clone(&pending), metrics);
        let thread =
            std::thread::Builder::new().name("mshost-journal".to_owned()).spawn(|| writer.run()).map_err(|error| {
                BusError::Refused { what: "starting the journal's thread".to_owned(), reason: error.to_string() }
            })?;
        let journal = Self {
            pending,
            records: AtomicI64::new(last + 1),
            senders: Semaphore::new(limits.in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            send_timeout: limits.send_timeout,
            file,
            writer: Mutex::new(Some(thread)),
        };
        Ok((journal, restored))
    }

    /// Writes a job; once this returns it outlives the host. Dropping the future removes it again. The second is to be held until
    /// the job is accepted or withdrawn.
    pub(super) async fn insert(&self, job: &Job) -> Result<(RecordId, UndecidedSend), SendError> {
        let row = Box::new(JobRow::of(job)?);
        let undecided = self.pending.undecided();
        let written = async {
            let closed = || SendError::Unavailable("it is closed".to_owned());
            let _permit = self.senders.acquire().await.map_err(|_| closed())?;
            let record = RecordId::new(self.records.fetch_add(1, Ordering::Relaxed));
            let guard = InsertGuard { pending: &self.pending, record: Some(record) };
            let (answer, answered) = oneshot::channel();
            self.pending.add(PendingChange { change: JournalChange::Insert(record, row), answer: Some(answer) });
            answered.await.map_err(|_| closed())?.map_err(SendError::Unavailable)?;
            guard.disarm();
            Ok::<_, SendError>(record)
        };
        match tokio::time::timeout(self.send_timeout, written).await {
            Ok(record) => Ok((record?, undecided)),
            Err(_) => Err(SendError::Unavailable(format!(
                "the journal {} has not taken the job for {:?} (`bus.send_timeout`); is its disk overloaded?",
                self.file.display(),
                self.send_timeout
            ))),
        }
    }

    /// Adds a change, to be written soon. Each is about a job that the limits have let in, so there are never many more of them.
    pub(super) fn append(&self, change: JournalChange) {
        self.pending.add(PendingChange { change, answer: None });
    }

    /// As [`Journal::append`]; waits for the commit where the disk has fallen behind.
    pub(super) async fn append_bounded(&self, change: JournalChange) {
        if self.pending.len() < MOST_WAITING {
            return self.append(change);
        }
        self.commit(change).await;
    }

    /// As [`Journal::append`]; ends when it is committed, or the journal closed. The change is added when this is called, and
    /// the wait is cancel safe.
    pub(super) fn commit(&self, change: JournalChange) -> Commit {
        let (answer, answered) = oneshot::channel();
        self.pending.add(PendingChange { change, answer: Some(answer) });
        Commit(Some(answered))
    }

    #[cfg(test)]
    pub(super) fn folder(&self) -> &std::path::Path {
        self.file.parent().unwrap_or(&self.file)
    }

    /// How many jobs have been given to the writer.
    #[cfg(test)]
    pub(super) fn written_jobs(&self) -> i64 {
        self.records.load(Ordering::Relaxed) - 1
    }

    /// Writes what is left and closes the file. Idempotent.
    pub(super) fn close(&self) {
        self.senders.close();
        self.pending.close();
    }

    /// Waits for the end of [`Journal::close`]; blocks the thread.
    pub(super) fn join(&self) {
        let thread = self.writer.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(target: "mshost::bus", "the thread of the journal {} has panicked", self.file.display());
        }
    }
}

/// Ends when a change is committed, or the journal closed. Where there is nothing to wait for it has ended.
#[derive(Debug, Default)]
pub(super) struct Commit(Option<oneshot::Receiver<Result<(), String>>>);

impl Future for Commit {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(answered) => Pin::new(answered).poll(cx).map(drop),
            None => Poll::Ready(()),
        }
    }
}

/// Removes a record unless it is disarmed: a send that is given up leaves none.
struct InsertGuard<'a> {
    pending: &'a PendingChanges,
    record: Option<RecordId>,
}

impl InsertGuard<'_> {
    fn disarm(mut self) {
        self.record = None;
    }
}

impl Drop for InsertGuard<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.record {
            self.pending.add(PendingChange { change: JournalChange::Remove(record), answer: None });
        }
    }
}
