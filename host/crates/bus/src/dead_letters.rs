//! Dead letters: jobs that were given up, kept with the reason until an operator decides.

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use mshost_core::ids::WorkerRef;
use mshost_plugin_api::SendError;

use crate::error::BusError;
use crate::job::Job;

/// The most bytes of an error that a dead letter keeps: it travels in a header, and headers have to fit one AMQP frame.
pub const MAX_ERROR_BYTES: usize = 4 << 10;

/// What is said of a job whose deadline has passed.
pub const EXPIRED: &str = "Job expired: its deadline passed before it was done";

/// Why a job is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeathReason {
    /// Its handler failed as often as `retry.max_attempts` allows, or said that it would for ever.
    Failed,
    /// Its deadline passed.
    Expired,
    /// The worker that it was for is gone.
    NoWorker,
    /// It was delivered as often as `bus.delivery_limit` allows and never settled: it may kill its workers.
    Crashed,
    /// It is not a job.
    Malformed,
}

impl DeathReason {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Failed, Self::Expired, Self::NoWorker, Self::Crashed, Self::Malformed];

    /// As it is written in headers, metrics and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::NoWorker => "no_worker",
            Self::Crashed => "crashed",
            Self::Malformed => "malformed",
        }
    }

    /// Reads what [`DeathReason::name`] wrote.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for DeathReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why, when and after whose attempt a job was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Why.
    pub reason: DeathReason,
    /// The last error, for people; at most [`MAX_ERROR_BYTES`].
    pub error: String,
    /// The worker that tried last, where any did.
    pub worker: Option<WorkerRef>,
    /// When it was given up.
    pub at: SystemTime,
}

impl Death {
    /// A death now.
    #[must_use]
    pub fn now(reason: DeathReason, error: &str, worker: Option<WorkerRef>) -> Self {
        let end = error.floor_char_boundary(MAX_ERROR_BYTES);
        Self { reason, error: error[..end].to_owned(), worker, at: SystemTime::now() }
    }

    /// The death now of a job that there is no worker for.
    #[must_use]
    pub fn no_worker(job: &Job) -> Self {
        Self::now(DeathReason::NoWorker, &SendError::NoWorker(job.route.target().clone()).to_string(), None)
    }
}

/// A job that was given up, as it was then.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// What it is called in `mshost dead-letters`: the job's id, or something unique where it is not a job.
    pub id: String,
    /// The job, unless it is not one.
    pub job: Option<Job>,
    /// What came, byte by byte, where it is not a job.
    pub raw: Option<Bytes>,
    /// Why it is here.
    pub death: Death,
}

/// What became of each dead letter that was to be sent again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Requeued {
    /// Sent again, as first attempts without a deadline: the id of each, so one that several share is here as often.
    pub sent: Vec<String>,
    /// Still dead letters: the bus would not take them.
    pub refused: Vec<(String, SendError)>,
    /// No dead letter has this id.
    pub unknown: Vec<String>,
}

/// The dead letters of a bus.
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// The dead letters, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away or closed.
    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError>;

    /// How many there are; `None` while the bus cannot tell. Cheap: asked at each look at the metrics.
    async fn count(&self) -> Option<u64>;

    /// Keeps a dead letter of another bus of the same codec. One of the same id may be replaced.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away or closed, has too many, or cannot write it.
    async fn keep(&self, letter: DeadLetter) -> Result<(), BusError>;

    /// Sends every dead letter with one of these ids again, each as a first attempt without a deadline; it is a dead letter
    /// until the bus has the job.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away or closed; some may have been sent by then.
    async fn requeue(&self, ids: &[String]) -> Result<Requeued, BusError>;

    /// Deletes every dead letter and says how many there were.
    ///
    /// # Errors
    /// [`BusError`] where the bus is away or closed.
    async fn purge(&self) -> Result<u64, BusError>;
}
