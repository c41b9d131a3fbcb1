//! Errors between a worker and the bus, as a plugin author sees them.

use std::fmt;

use crate::codec::{DecodeError, EncodeError};
use crate::ids::{Address, JobId, WorkerRef};
use crate::route::RouteError;

/// Whether a failed job is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Try again after the delay that the topology's `retry` sets, up to `max_attempts` in all.
    Later,
    /// It would fail again: report it to the sender at once.
    Never,
}

/// The error of a worker's `start` or `handle`. Any `std::error::Error` becomes one with `?`, and is retried.
pub struct Error {
    message: String,
    retry: Retry,
}

impl Error {
    /// A failure that may pass: the job is retried as the topology's `retry` says.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), retry: Retry::Later }
    }

    /// A failure that a retry would repeat: it is reported to the job's sender at once.
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), retry: Retry::Never }
    }

    /// Whether the job is to be retried.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (retry: {:?})", self.message, self.retry)
    }
}

// `Error` itself is not a `std::error::Error`: that is what lets `?` take every other error (as `anyhow::Error` does).
impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let retry = retry_of(&error);
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Many errors already print their source.
            let cause_text = cause.to_string();
            if !message.contains(&cause_text) {
                message.push_str(": ");
                message.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self { message, retry }
    }
}

/// Whether an error may pass: our own errors know, any other is assumed to.
fn retry_of(error: &(dyn std::error::Error + 'static)) -> Retry {
    if let Some(error) = error.downcast_ref::<SendError>() {
        error.retry()
    } else if error.is::<DecodeError>() || error.is::<EncodeError>() || error.is::<RouteError>() {
        Retry::Never
    } else {
        Retry::Later
    }
}

/// The error of a job that the bus did not accept. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No worker of the address is on the bus.
    #[error("no worker available for {0}")]
    NoWorker(Address),
    /// The route is invalid.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The data cannot be written in the bus's codec.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The job is larger than the bus's limit.
    #[error("the job has {size} bytes, the bus takes at most {limit} (`bus.max_message`)")]
    TooLarge {
        /// The job's size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The job was forwarded at the last worker of its pipeline.
    #[error("the pipeline ends here: {0} is its last worker")]
    EndOfRoute(Address),
    /// The bus did not take it in time, or is closing.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
}

impl SendError {
    /// Whether sending the same job again can succeed.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unavailable(_) => Retry::Later,
            Self::NoWorker(_) | Self::Route(_) | Self::Encode(_) | Self::TooLarge { .. } | Self::EndOfRoute(_) => {
                Retry::Never
            }
        }
    }
}

/// The report to a sender of a job that failed for good (`treatError` in MicroServices.js).
#[derive(Debug, Clone)]
pub struct JobError {
    /// The message: `"no worker available for WB:*"`, `"Job send too many times"`, or that of the worker's error.
    pub error: String,
    /// The job's id.
    pub id: JobId,
    /// The id of the first job of its pipeline, as [`crate::Context::send`] returned it.
    pub correlation: JobId,
    /// The worker that reports the failure, where known.
    pub reporter: Option<WorkerRef>,
    pub(crate) payload: Option<crate::codec::Payload>,
}

impl JobError {
    /// The job's data, as it was when it failed.
    ///
    /// # Errors
    /// Where the data is not a `T`.
    pub fn data<T: serde::de::DeserializeOwned>(&self) -> Result<T, DecodeError> {
        match &self.payload {
            Some(payload) => payload.decode(),
            None => Err(DecodeError {
                codec: crate::Codec::default(),
                reason: "the report came without the job's data".into(),
            }),
        }
    }
}
