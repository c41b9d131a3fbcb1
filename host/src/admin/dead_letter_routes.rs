//! The routes of dead letters.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use mshost_core::ids::MAX_NAME_BYTES;
use serde::Serialize;

use super::dead_letters::{
    DeadLetterError, DeadLetterFilter, DeadLetterSource, MAX_LISTED, MAX_REQUEUED, PurgeReport, RequeueRequest,
};
use super::response::{AdminResponse, error, json, read_body};

/// How many are listed where the query has no limit.
const DEFAULT_LIMIT: usize = 100;

/// The largest body that is read: room for [`MAX_REQUEUED`] ids and what stands around them.
const MAX_BODY: usize = MAX_REQUEUED * (MAX_NAME_BYTES + 16);

/// How long the bus may take. Sending again waits where queues are full.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Lists dead letters: `GET /api/dead-letters`.
pub(super) async fn list(source: &dyn DeadLetterSource, query: &str) -> AdminResponse {
    match ListQuery::parse(query) {
        Ok(ListQuery { filter, limit }) => respond(in_time(source.list(&filter, limit)).await),
        Err(message) => error(StatusCode::BAD_REQUEST, &message),
    }
}

/// Deletes all dead letters: `DELETE /api/dead-letters`.
pub(super) async fn purge(source: &dyn DeadLetterSource) -> AdminResponse {
    respond(in_time(source.purge()).await.map(|purged| PurgeReport { purged }))
}

/// Shows the dead letters with one id, which is percent-encoded: `GET /api/dead-letters/ID`.
pub(super) async fn show(source: &dyn DeadLetterSource, id: &str) -> AdminResponse {
    let id = percent_encoding::percent_decode_str(id).decode_utf8_lossy();
    match in_time(source.show(&id)).await {
        Ok(list) if list.letters.is_empty() => {
            error(StatusCode::NOT_FOUND, &format!("no dead letter has the id `{id}`"))
        }
        shown => respond(shown),
    }
}

/// Sends some dead letters again: `POST /api/dead-letters/requeue`.
pub(super) async fn requeue(source: &dyn DeadLetterSource, request: Request<Incoming>) -> AdminResponse {
    let too_large = format!("the body is larger than {MAX_REQUEUED} ids can be");
    let body = match read_body(request, MAX_BODY, &too_large).await {
        Ok(body) => body,
        Err(response) => return *response,
    };
    match serde_json::from_slice(&body) {
        Ok(RequeueRequest { ids }) if ids.is_empty() || ids.len() > MAX_REQUEUED => {
            let message = format!("from 1 to {MAX_REQUEUED} ids can be sent again at a time, not {}", ids.len());
            error(StatusCode::BAD_REQUEST, &message)
        }
        Ok(RequeueRequest { ids }) => respond(in_time(source.requeue(&ids)).await),
        Err(why) => error(StatusCode::BAD_REQUEST, &format!("the body must be like {{\"ids\": [\"ID\"]}}: {why}")),
    }
}

/// The query of `GET /api/dead-letters`.
struct ListQuery {
    filter: DeadLetterFilter,
    limit: usize,
}

impl ListQuery {
    fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self { filter: DeadLetterFilter::default(), limit: DEFAULT_LIMIT };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "limit" => parsed.limit = limit(&value)?,
                "type" => parsed.filter.worker_type = Some(value.into_owned()),
                "reason" => parsed.filter.reason = Some(value.into_owned()),
                _ => return Err(format!("there is no `{key}` here, only `limit`, `type` and `reason`")),
            }
        }
        Ok(parsed)
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LISTED).contains(limit));
    limit.ok_or_else(|| format!("`limit` must be a number from 1 to {MAX_LISTED}, not `{text}`"))
}

async fn in_time<T>(work: impl Future<Output = Result<T, DeadLetterError>>) -> Result<T, DeadLetterError> {
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or_else(|_| {
        let waited = TIMEOUT.as_secs();
        Err(DeadLetterError::Unavailable(format!(
            "the bus was not done after {waited} s; list what is left before a new try"
        )))
    })
}

fn respond(result: Result<impl Serialize, DeadLetterError>) -> AdminResponse {
    match result {
        Ok(body) => json(StatusCode::OK, &body),
        Err(DeadLetterError::Invalid(message)) => error(StatusCode::BAD_REQUEST, &message),
        Err(DeadLetterError::Unavailable(message)) => error(StatusCode::SERVICE_UNAVAILABLE, &message),
    }
}
