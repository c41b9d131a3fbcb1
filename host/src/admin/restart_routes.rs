//! The route of worker restarts.

use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use super::response::{AdminResponse, error, json, read_body};
use super::worker_restart::{RestartRefused, WorkerRestarter};

/// Has a worker replaced by a fresh one: `POST /api/workers/NAME/restart`. The name is percent-encoded.
pub(super) async fn restart(
    workers: &dyn WorkerRestarter,
    name: &str,
    request: Request<Incoming>,
    max_body: usize,
) -> AdminResponse {
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    // Nothing is expected in it.
    if let Err(response) = read_body(request, max_body, "a restart takes no body").await {
        return *response;
    }
    match workers.restart(&name) {
        Ok(accepted) => json(StatusCode::ACCEPTED, &accepted),
        Err(refused @ RestartRefused::Unknown(_)) => error(StatusCode::NOT_FOUND, &refused.to_string()),
        Err(refused @ RestartRefused::Conflict(_)) => error(StatusCode::CONFLICT, &refused.to_string()),
    }
}
