//! Notifications: the messages of the exchanges `notifications` and `polling`.

use mshost_core::ids::{JobId, WorkerRef};
use mshost_plugin_api::Payload;

use crate::job::Job;
use crate::wire_job::WireJob;

/// A message to every subscriber. Jobs for workers of MicroServices.js are published here only: [`MsjsBridge`](crate::MsjsBridge) hears them, subscribers do not.
#[derive(Debug, Clone, PartialEq)]
pub enum Notification {
    /// `worker.new.send` (a worker has just connected), or `worker.new.resend` when it answers [`Notification::GetAll`].
    New {
        /// The worker.
        worker: Announcement,
        /// Whether this answers [`Notification::GetAll`].
        resend: bool,
    },
    /// `worker.getAll`: which workers are there?
    GetAll,
    /// `worker.list`: a pool as its first worker sees it.
    List(Vec<PoolEntry>),
    /// `worker.del`: this worker stops.
    Del(WorkerRef),
    /// `error`: a job has failed for good.
    Error(Failure),
    /// `worker.list` on `polling`: the manager is to log its list.
    ListRequest,
    /// `worker.next`: a job for a worker of MicroServices.js.
    Next(WireJob),
    /// `worker.next.ack`: a job that a worker of MicroServices.js sent is taken.
    Taken {
        /// The job, whose position has been advanced.
        job: WireJob,
        /// Whether it was for one worker by its id: then no pool counts it (`ignoreUpdate`).
        by_id: bool,
    },
}

/// How a worker announces itself. MicroServices.js ignores the fields that it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The worker.
    pub worker: WorkerRef,
    /// The name of the mshost that runs it; `None` for a worker of MicroServices.js.
    pub host: Option<String>,
}

/// One line of `worker.list`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PoolEntry {
    /// The worker.
    pub worker: WorkerRef,
    /// Whether it is its turn (the round robin of MicroServices.js).
    #[serde(rename = "isNext")]
    pub is_next: bool,
}

/// The report of a job that failed for good, for the worker that sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The worker to be told. On the wire `target: "ID"`, which is what workers of MicroServices.js recognise; `{id, type}` is
    /// accepted.
    pub target: WorkerRef,
    /// What went wrong.
    pub error: String,
    /// The job.
    pub id: JobId,
    /// The first job of its pipeline (equal to `id` when told by MicroServices.js).
    pub correlation: JobId,
    /// The worker or host that found out, where known.
    pub reporter: Option<WorkerRef>,
    /// The job's data, where given.
    pub payload: Option<Payload>,
}

impl Failure {
    /// The reports of a job that failed for good: to its sender first, then to the sender of its pipeline's first job, where
    /// that is another.
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
