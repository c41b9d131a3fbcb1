//! Dead letters as the admin server and `mshost dead-letters` show them. Their JSON is an interface that scripts rely on.

use async_trait::async_trait;
use mshost_core::status::Timestamp;
use serde::{Deserialize, Serialize};

/// The most dead letters that are looked at for one question; a filter finds none beyond.
pub const MAX_LISTED: usize = 10_000;

/// The most ids in one `POST /api/dead-letters/requeue`.
pub const MAX_REQUEUED: usize = 100;

/// A store of dead letters, as the admin server and the commands see it.
#[async_trait]
pub trait DeadLetterSource: Send + Sync + 'static {
    /// The oldest that a filter lets through, without their data.
    ///
    /// # Errors
    /// Where the filter cannot be understood, or they cannot be reached.
    async fn list(&self, filter: &DeadLetterFilter, limit: usize) -> Result<DeadLetterList, DeadLetterError>;

    /// Those with this id, whole.
    ///
    /// # Errors
    /// Where they cannot be reached.
    async fn show(&self, id: &str) -> Result<DeadLetterList, DeadLetterError>;

    /// Sends all with one of these ids again.
    ///
    /// # Errors
    /// Where they cannot be reached; some may have been sent by then.
    async fn requeue(&self, ids: &[String]) -> Result<RequeueReport, DeadLetterError>;

    /// Forgets all and says how many there were.
    ///
    /// # Errors
    /// Where they cannot be reached.
    async fn purge(&self) -> Result<u64, DeadLetterError>;
}

/// Which dead letters are meant; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// The type of the worker that they were for.
    pub worker_type: Option<String>,
    /// Why they died.
    pub reason: Option<String>,
}

/// Why dead letters cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterError {
    /// The question makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// They cannot be reached, now.
    #[error("{0}")]
    Unavailable(String),
}

/// Some dead letters, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterList {
    /// How many there are in all, whether shown or not; `null` where the bus cannot tell.
    pub total: Option<u64>,
    /// There may be more that fit the question.
    pub truncated: bool,
    /// The dead letters.
    pub letters: Vec<DeadLetterEntry>,
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterEntry {
    /// Its id, which several may share: a job may be delivered twice, and die twice.
    pub id: String,
    /// Why it died, in a word.
    pub reason: String,
    /// The last error.
    pub error: String,
    /// The worker that tried last.
    pub worker: Option<String>,
    /// When it was given up.
    pub died: Timestamp,
    /// The job; `null` where it is none.
    pub job: Option<DeadLetterJob>,
    /// What came, where it is not a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<DeadLetterRaw>,
}

/// A message that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterRaw {
    /// Its size in bytes.
    pub size: usize,
    /// Byte by byte, in Base64; left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// The job of a dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterJob {
    /// The address that it was sent to.
    pub target: String,
    /// Its pipeline.
    pub route: Vec<String>,
    /// Where in its pipeline it was; 0 is the first.
    pub position: usize,
    /// The worker that sent it.
    pub sender: String,
    /// The worker that sent the first job of its pipeline.
    pub origin: String,
    /// The id of that job.
    pub correlation: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was no longer wanted.
    pub deadline: Option<Timestamp>,
    /// How its data is written.
    pub codec: String,
    /// The size of its data in bytes.
    pub size: usize,
    /// Its data; left out of lists, and where it cannot be shown as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
    /// Its data byte by byte, in Base64; left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// What became of dead letters that were to be sent again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequeueReport {
    /// The id of each that was sent: one that several shared is here as often.
    pub sent: Vec<String>,
    /// Those that the bus did not take; they are dead letters still.
    pub refused: Vec<RefusedRequeue>,
    /// Ids that no dead letter has.
    pub unknown: Vec<String>,
}

/// A dead letter that could not be sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRequeue {
    /// Its id.
    pub id: String,
    /// Why not.
    pub error: String,
}

/// What `POST /api/dead-letters/requeue` is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequeueRequest {
    /// Which; at most [`MAX_REQUEUED`].
    pub ids: Vec<String>,
}

/// What `DELETE /api/dead-letters` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeReport {
    /// How many there were.
    pub purged: u64,
}
