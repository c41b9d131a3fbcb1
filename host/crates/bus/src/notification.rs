//! What is told to everybody: the messages of the original's exchanges `notifications` and `polling`.

use mshost_core::ids::{JobId, WorkerRef};
use mshost_plugin_api::Payload;

use crate::codec::WireJob;
use crate::job::Job;

/// A message to everybody. The original's jobs are said here only: [`MsjsBridge`](crate::MsjsBridge) hears them, subscribers do not.
#[derive(Debug, Clone, PartialEq)]
pub enum Notification {
    /// `worker.new.send` (a worker has just connected), or `worker.new.resend` when it answers [`Notification::GetAll`].
    New {
        /// Who.
        worker: Announcement,
        /// Whether this answers [`Notification::GetAll`].
        resend: bool,
    },
    /// `worker.getAll`: who is there?
    GetAll,
    /// `worker.list`: a pool as its first worker sees it.
    List(Vec<PoolEntry>),
    /// `worker.del`: this worker stops.
    Del(WorkerRef),
    /// `error`: a job has failed for good.
    Error(Failure),
    /// `worker.list` on `polling`: somebody wants the manager to log its list.
    ListRequest,
    /// `worker.next`: a job for a worker of the original.
    Next(WireJob),
    /// `worker.next.ack`: a job of a worker of the original is taken.
    Taken {
        /// The job, whose position has been advanced.
        job: WireJob,
        /// Whether it was for one worker by its id: then no pool counts it (`ignoreUpdate`).
        by_id: bool,
    },
}

/// How a worker announces itself. The original ignores what it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Who.
    pub worker: WorkerRef,
    /// The name of the mshost that runs it; `None` for a worker of the original.
    pub host: Option<String>,
}

/// One line of `worker.list`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PoolEntry {
    /// Who.
    pub worker: WorkerRef,
    /// Whether it is its turn (the original's round robin).
    #[serde(rename = "isNext")]
    pub is_next: bool,
}

/// A job that failed for good, on its way to whoever sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Whom to tell. On the wire `target: "ID"`, which is what the original's workers recognise; `{id, type}` is accepted.
    pub target: WorkerRef,
    /// What went wrong.
    pub error: String,
    /// The job.
    pub id: JobId,
    /// The first job of its pipeline (equal to `id` when told by the original).
    pub correlation: JobId,
    /// Who found out, where known.
    pub reporter: Option<WorkerRef>,
    /// The job's data, where given.
    pub payload: Option<Payload>,
}

impl Failure {
    /// What is told of a job that failed for good: to its sender first, then to whoever began its pipeline, where that is
    /// another.
    pub fn reports(
        job: &Job,
        error: &str,
        reporter: Option<&WorkerRef>,
    ) -> impl DoubleEndedIterator<Item = Notification> + Send {
        let targets = [Some(&job.sender), Some(&job.origin).filter(|origin| origin.id != job.sender.id)];
        targets.into_iter().flatten().map(move |target| {
            Notification::Error(Self {
                target: target.clone(),
                error: error.to_owned(),
                id: job.id.clone(),
                correlation: job.correlation.clone(),
                reporter: reporter.cloned(),
                payload: Some(job.payload.clone()),
            })
        })
    }
}
