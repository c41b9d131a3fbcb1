//! Asking for a fresh worker: `POST /api/workers/NAME/restart`.

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::routes::{Answer, Routes, error, json, read};

/// What comes before the name of a worker.
pub(super) const WORKERS: &str = "/api/workers/";

/// What comes after it.
pub(super) const RESTART: &str = "/restart";

/// Who can have a worker replaced by a fresh one.
pub trait WorkerRestarts: Send + Sync + 'static {
    /// Has the worker of this id, or the one in this slot (`WB[0]`), replaced: a fresh one is started, and the old one
    /// drained once that is ready. Where none runs, for whatever reason, one is started.
    ///
    /// # Errors
    /// [`RestartRefused`], in words for whoever asked.
    fn restart(&self, name: &str) -> Result<RestartAsked, RestartRefused>;
}

/// That a worker will be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartAsked {
    /// The slot, as in `WB[0]`.
    pub slot: String,
    /// `requested`, or `already requested`.
    pub restart: String,
}

/// Why a worker will not be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestartRefused {
    /// There is no such worker.
    #[error("{0}")]
    Unknown(String),
    /// It is not to be replaced as it is.
    #[error("{0}")]
    Conflict(String),
}

impl Routes {
    pub(super) async fn restart(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let name = path.strip_prefix(WORKERS).and_then(|rest| rest.strip_suffix(RESTART)).unwrap_or_default();
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
        // Nothing is expected in it.
        if let Err(answer) = read(request, self.max_body, "a restart takes no body").await {
            return *answer;
        }
        match self.workers.restart(&name) {
            Ok(asked) => json(StatusCode::ACCEPTED, &asked),
            Err(refused @ RestartRefused::Unknown(_)) => error(StatusCode::NOT_FOUND, &refused.to_string()),
            Err(refused @ RestartRefused::Conflict(_)) => error(StatusCode::CONFLICT, &refused.to_string()),
        }
    }
}
