//! Responses of the admin server, and the bodies of its requests.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde_json::json;

/// How long a client may take to send a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A response of the admin server.
pub(super) type AdminResponse = Response<Full<Bytes>>;

/// Reads the body of a request.
///
/// # Errors
/// The response, where the body is larger than `max` bytes or does not come in time.
pub(super) async fn read_body(
    request: Request<Incoming>,
    max: usize,
    too_large: &str,
) -> Result<Bytes, Box<AdminResponse>> {
    let body = Limited::new(request.into_body(), max).collect();
    let refusal = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => return Ok(body.to_bytes()),
        Ok(Err(_)) => error(StatusCode::PAYLOAD_TOO_LARGE, too_large),
        Err(_) => error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    Err(Box::new(refusal))
}

/// An error, as JSON.
pub(super) fn error(code: StatusCode, message: &str) -> AdminResponse {
    json(code, &json!({"error": message}))
}

/// A body, as JSON.
pub(super) fn json(code: StatusCode, body: &impl Serialize) -> AdminResponse {
    match serde_json::to_string_pretty(body) {
        Ok(json) => text(code, "application/json", json + "\n"),
        // A file name that is not UTF-8 cannot be written as JSON.
        Err(failure) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", failure.to_string()),
    }
}

/// A body of this type, which no cache may keep.
pub(super) fn text(code: StatusCode, content_type: &'static str, body: String) -> AdminResponse {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let response = with_header(response, CONTENT_TYPE, content_type);
    let response = with_header(response, CACHE_CONTROL, "no-store");
    with_header(response, X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// A response with one more header.
pub(super) fn with_header(mut response: AdminResponse, name: HeaderName, value: &'static str) -> AdminResponse {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
