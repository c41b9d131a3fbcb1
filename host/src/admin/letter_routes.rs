//! What the admin server answers about dead letters.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use mshost_core::ids::MAX_NAME_BYTES;
use serde::Serialize;

use super::letters::{LetterError, LetterFilter, MAX_LISTED, MAX_REQUEUED, Purged, RequeueRequest};
use super::routes::{Answer, Routes, error, json, read};

/// Where all of them are.
pub(super) const LETTERS: &str = "/api/dead-letters";

/// Before the id of one.
pub(super) const LETTER: &str = "/api/dead-letters/";

/// Where they are sent again.
pub(super) const REQUEUE: &str = "/api/dead-letters/requeue";

/// How many are listed where nobody says.
const DEFAULT_LIMIT: usize = 100;

/// The largest body that is read: room for [`MAX_REQUEUED`] ids and what stands around them.
const MAX_BODY: usize = MAX_REQUEUED * (MAX_NAME_BYTES + 16);

/// How long the bus may take. Sending again waits where queues are full.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Routes {
    /// Lists them, or forgets them all.
    pub(super) async fn dead_letters(&self, request: Request<Incoming>) -> Answer {
        if request.method() == Method::DELETE {
            return respond(in_time(self.letters.purge()).await.map(|purged| Purged { purged }));
        }
        match Question::parse(request.uri().query().unwrap_or_default()) {
            Ok(Question { filter, limit }) => respond(in_time(self.letters.list(&filter, limit)).await),
            Err(message) => error(StatusCode::BAD_REQUEST, &message),
        }
    }

    /// Shows those with one id.
    pub(super) async fn dead_letter(&self, request: Request<Incoming>) -> Answer {
        let id = request.uri().path().strip_prefix(LETTER).unwrap_or_default();
        let id = percent_encoding::percent_decode_str(id).decode_utf8_lossy();
        match in_time(self.letters.show(&id)).await {
            Ok(list) if list.letters.is_empty() => {
                error(StatusCode::NOT_FOUND, &format!("no dead letter has the id `{id}`"))
            }
            shown => respond(shown),
        }
    }

    /// Sends some again.
    pub(super) async fn requeue(&self, request: Request<Incoming>) -> Answer {
        let body = match read(request, MAX_BODY, &format!("the body is larger than {MAX_REQUEUED} ids can be")).await {
            Ok(body) => body,
            Err(answer) => return *answer,
        };
        match serde_json::from_slice(&body) {
            Ok(RequeueRequest { ids }) if ids.is_empty() || ids.len() > MAX_REQUEUED => {
                let message = format!("from 1 to {MAX_REQUEUED} ids can be sent again at a time, not {}", ids.len());
                error(StatusCode::BAD_REQUEST, &message)
            }
            Ok(RequeueRequest { ids }) => respond(in_time(self.letters.requeue(&ids)).await),
            Err(why) => error(StatusCode::BAD_REQUEST, &format!("the body must be like {{\"ids\": [\"ID\"]}}: {why}")),
        }
    }
}

/// What `GET /api/dead-letters` is asked.
struct Question {
    filter: LetterFilter,
    limit: usize,
}

impl Question {
    fn parse(query: &str) -> Result<Self, String> {
        let mut question = Self { filter: LetterFilter::default(), limit: DEFAULT_LIMIT };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "limit" => question.limit = limit(&value)?,
                "type" => question.filter.worker_type = Some(value.into_owned()),
                "reason" => question.filter.reason = Some(value.into_owned()),
                _ => return Err(format!("there is no `{key}` here, only `limit`, `type` and `reason`")),
            }
        }
        Ok(question)
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LISTED).contains(limit));
    limit.ok_or_else(|| format!("`limit` must be a number from 1 to {MAX_LISTED}, not `{text}`"))
}

async fn in_time<T>(work: impl Future<Output = Result<T, LetterError>>) -> Result<T, LetterError> {
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or_else(|_| {
        let waited = TIMEOUT.as_secs();
        Err(LetterError::Unavailable(format!(
            "the bus was not done after {waited} s; list what is left before a new try"
        )))
    })
}

fn respond(result: Result<impl Serialize, LetterError>) -> Answer {
    match result {
        Ok(body) => json(StatusCode::OK, &body),
        Err(LetterError::Invalid(message)) => error(StatusCode::BAD_REQUEST, &message),
        Err(LetterError::Unavailable(message)) => error(StatusCode::SERVICE_UNAVAILABLE, &message),
    }
}
