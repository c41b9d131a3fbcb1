//! The responses: always JSON.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::message::Answer;

/// A whole response.
pub type Reply = Response<Full<Bytes>>;

/// The header that says who handled a request on the bus.
pub const SERVED_BY: &str = "x-served-by";

/// A request that gets no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 599.
    pub status: StatusCode,
    /// Why, for the client.
    pub error: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    /// As `{"error": …}`. A service that is full says when to come back.
    #[must_use]
    pub fn into_reply(self) -> Reply {
        let mut reply = json(self.status, &json!({ "error": self.error }));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        reply
    }
}

/// What the bus answered. `created`: the content is a movie that was not there before.
#[must_use]
pub fn from_answer(answer: Answer, created: bool) -> Reply {
    let mut reply = match answer.error {
        Some(error) => Refusal { status: error_status(answer.status), error }.into_reply(),
        None if created => json_created(&answer.content),
        None => json(StatusCode::OK, &answer.content),
    };
    if let Some(via) = answer.via.and_then(|via| HeaderValue::try_from(via).ok()) {
        reply.headers_mut().insert(SERVED_BY, via);
    }
    reply
}

/// A worker may choose among the error statuses; anything else is its mistake, not the client's.
fn error_status(status: Option<u16>) -> StatusCode {
    status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .filter(|status| status.is_client_error() || status.is_server_error())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn json_created(movie: &Value) -> Reply {
    let mut reply = json(StatusCode::CREATED, movie);
    let location = movie.get("id").and_then(|id| HeaderValue::try_from(format!("/movies/{id}")).ok());
    if let Some(location) = location {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

fn json<T: Serialize>(status: StatusCode, body: &T) -> Reply {
    let (status, body) = match serde_json::to_vec(body) {
        Ok(body) => (status, body),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{{\"error\":\"cannot write JSON: {error}\"}}").into())
        }
    };
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
