//! What the bus answers for, on disk: accepted jobs and dead letters outlive the host.
//!
//! The journal is the memory of the bus written down, and is read only when a bus is opened. One thread writes: it takes
//! whatever has gathered since its last commit and commits that at once, so that the cost of a commit is shared by all who
//! wait for it. Changes keep their order. Only [`Journal::keep`] waits for its commit, because `send` promises that the job
//! will not be lost; a job that was settled a moment before a crash comes again, which *at least once* allows.

mod holder;
mod rows;
mod store;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mshost_bus::{BusError, BusLimits, Codec, DeadLetter, Death, Job, JournalConfig, SendError};
use mshost_core::metrics::Metrics;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use self::rows::JobRow;
use self::store::Store;
use self::writer::{Noted, Pending, Undecided, Writer};
use super::kept::Kept;

/// The changes that may wait to be written before those who settle jobs have to wait with them.
const MOST_WAITING: usize = 8_192;

/// The name of a job in the journal. Grows from job to job, also over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Record(i64);

#[cfg(test)]
impl Record {
    /// No job has it.
    pub(super) const NONE: Self = Self(0);
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the journal is told.
#[derive(Debug)]
pub(super) enum Change {
    /// A job is to be accepted.
    Insert(Record, Box<JobRow>),
    /// It is done, or was not accepted after all.
    Remove(Record),
    /// It failed and is tried again.
    Retry { record: Record, attempt: u32, due: SystemTime },
    /// It goes out once more after it came back; `times` is how often it has gone out, this time included.
    Delivered { record: Record, times: u32 },
    /// It becomes a dead letter of this id.
    Bury { record: Record, id: String, death: Death },
    /// A dead letter is one no longer.
    Forget(Record),
    /// No dead letter is one any longer.
    ForgetAll,
}

/// What a journal is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// To be a bus's memory; where there is none, one is begun.
    Jobs,
    /// To look after its dead letters; the jobs in it are not even read.
    DeadLetters,
}

/// What a journal held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// Oldest first.
    pub(super) jobs: Vec<RestoredJob>,
    /// Oldest first.
    pub(super) dead: Vec<(Record, DeadLetter)>,
}

/// A job of an earlier life.
#[derive(Debug)]
pub(super) struct RestoredJob {
    pub(super) record: Record,
    pub(super) job: Result<Job, NotAJob>,
    pub(super) due: Option<SystemTime>,
    pub(super) deliveries: u32,
}

/// What stands where a job should, and why it is none.
#[derive(Debug)]
pub(super) struct NotAJob {
    pub(super) raw: Bytes,
    pub(super) reason: String,
}

/// An open journal, which no other process has.
pub(super) struct Journal {
    pending: Arc<Pending>,
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
        purpose: For,
        config: &JournalConfig,
        codec: Codec,
        limits: &BusLimits,
        metrics: Option<Arc<Metrics>>,
    ) -> Result<(Self, Restored), BusError> {
        let store = Store::open(config, codec, purpose)?;
        let (restored, last) = store.load(codec, purpose)?;
        let file = store.file().to_owned();
        let pending = Arc::new(Pending::default());
        let writer = Writer::new(store, Arc::clone(&pending), metrics);
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

    /// Writes a job down; once this returns it outlives the host. Whoever drops the future gets it forgotten again. The
    /// second is to be held until the job is accepted or withdrawn.
    pub(super) async fn keep(&self, job: Job) -> Result<(Kept, Undecided), SendError> {
        let row = Box::new(JobRow::of(&job)?);
        let undecided = self.pending.undecided();
        let written = async {
            let closed = || SendError::Unavailable("it is closed".to_owned());
            let _permit = self.senders.acquire().await.map_err(|_| closed())?;
            let record = Record(self.records.fetch_add(1, Ordering::Relaxed));
            let unless_kept = Undo { pending: &self.pending, record: Some(record) };
            let (answer, answered) = oneshot::channel();
            self.pending.add(Noted { change: Change::Insert(record, row), answer: Some(answer) });
            answered.await.map_err(|_| closed())?.map_err(SendError::Unavailable)?;
            unless_kept.disarm();
            Ok::<_, SendError>(record)
        };
        match tokio::time::timeout(self.send_timeout, written).await {
            Ok(record) => Ok((Kept::new(job, Some(record?)), undecided)),
            Err(_) => Err(SendError::Unavailable(format!(
                "the journal {} has not taken the job for {:?} (`bus.send_timeout`); is its disk overloaded?",
                self.file.display(),
                self.send_timeout
            ))),
        }
    }

    /// Writes a change down soon. Each is about a job that the limits have let in, so there are never many more of them.
    pub(super) fn note(&self, change: Change) {
        self.pending.add(Noted { change, answer: None });
    }

    /// As [`Journal::note`]; waits for the commit where the disk has fallen behind.
    pub(super) async fn settle(&self, change: Change) {
        if self.pending.len() < MOST_WAITING {
            return self.note(change);
        }
        self.written(change).await;
    }

    /// As [`Journal::note`]; ends when it is committed, or the journal closed. The change is noted when this is called, and
    /// the wait is cancel safe.
    pub(super) fn written(&self, change: Change) -> Written {
        let (answer, answered) = oneshot::channel();
        self.pending.add(Noted { change, answer: Some(answer) });
        Written(Some(answered))
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

    /// Writes what is left and lets go of the file. Idempotent.
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
pub(super) struct Written(Option<oneshot::Receiver<Result<(), String>>>);

impl Future for Written {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(answered) => Pin::new(answered).poll(cx).map(drop),
            None => Poll::Ready(()),
        }
    }
}

/// Has a record removed unless its job is accepted.
struct Undo<'a> {
    pending: &'a Pending,
    record: Option<Record>,
}

impl Undo<'_> {
    fn disarm(mut self) {
        self.record = None;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.record {
            self.pending.add(Noted { change: Change::Remove(record), answer: None });
        }
    }
}
