//! What the admin server answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use mshost_core::metrics::Metrics;
use mshost_core::status::{HostStatus, StatusSource};
use serde::Serialize;
use serde_json::json;

use super::gauges;
use super::guard::{Guard, Refusal};
use super::letter_routes::{LETTER, LETTERS, REQUEUE};
use super::letters::DeadLetterSource;
use super::reload::ReloadSource;
use super::restarts::{RESTART, WORKERS, WorkerRestarts};

/// How long the source of a status may take.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a client may take to send a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) type Answer = Response<Full<Bytes>>;

/// Everything that requests need.
pub(super) struct Routes {
    pub(super) metrics: Arc<Metrics>,
    pub(super) source: Arc<dyn StatusSource>,
    pub(super) letters: Arc<dyn DeadLetterSource>,
    pub(super) workers: Arc<dyn WorkerRestarts>,
    pub(super) reload: Arc<dyn ReloadSource>,
    pub(super) guard: Guard,
    pub(super) max_body: usize,
}

#[derive(Clone, Copy)]
enum Route {
    Metrics,
    Health,
    Ready,
    Topology,
    Reload,
    Restart,
    DeadLetters,
    DeadLetter,
    Requeue,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/api/topology" => Self::Topology,
            "/api/reload" => Self::Reload,
            LETTERS => Self::DeadLetters,
            REQUEUE => Self::Requeue,
            _ if path.starts_with(WORKERS) && path.ends_with(RESTART) => Self::Restart,
            _ if path.len() > LETTER.len() && path.starts_with(LETTER) => Self::DeadLetter,
            _ => return None,
        })
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Reload | Self::Restart | Self::Requeue => "POST",
            Self::DeadLetters => "GET, HEAD, DELETE",
            _ => "GET, HEAD",
        }
    }

    fn allows(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }
}

impl Routes {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let route = Route::of(request.uri().path());
        let open = matches!(route, Some(Route::Health | Route::Ready));
        if let Err(refusal) = self.guard.check(request.headers(), open) {
            return refused(&refusal);
        }
        let Some(route) = route else {
            return error(StatusCode::NOT_FOUND, "not found");
        };
        if !route.allows(request.method()) {
            let message = format!("this path takes {} only", route.allow());
            return with(error(StatusCode::METHOD_NOT_ALLOWED, &message), ALLOW, route.allow());
        }
        match route {
            Route::Metrics => self.metrics().await,
            Route::Health => json(StatusCode::OK, &json!({"status": "alive"})),
            Route::Ready => self.ready().await,
            Route::Topology => match self.status().await {
                Ok(status) => json(StatusCode::OK, &status),
                Err(answer) => *answer,
            },
            Route::Reload => self.reload(request).await,
            Route::Restart => self.restart(request).await,
            Route::DeadLetters => self.dead_letters(request).await,
            Route::DeadLetter => self.dead_letter(request).await,
            Route::Requeue => self.requeue(request).await,
        }
    }

    async fn metrics(&self) -> Answer {
        // A host that does not say how it is still has its counters.
        if let Ok(status) = self.status().await {
            gauges::set(&self.metrics, &status);
        }
        match self.metrics.render() {
            Ok(text) => answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
            Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
        }
    }

    async fn ready(&self) -> Answer {
        let (reasons, warnings) = match self.status().await {
            Ok(status) => (status.unready(), status.warnings()),
            Err(answer) => return *answer,
        };
        let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(code, &json!({"ready": reasons.is_empty(), "reasons": reasons, "warnings": warnings}))
    }

    async fn status(&self) -> Result<HostStatus, Box<Answer>> {
        tokio::time::timeout(STATUS_TIMEOUT, self.source.status()).await.map_err(|_| {
            let message = format!("the host did not say how it is within {} s", STATUS_TIMEOUT.as_secs());
            Box::new(error(StatusCode::SERVICE_UNAVAILABLE, &message))
        })
    }
}

/// The body of a request.
pub(super) async fn read(request: Request<Incoming>, max: usize, too_large: &str) -> Result<Bytes, Box<Answer>> {
    let body = Limited::new(request.into_body(), max).collect();
    let refusal = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => return Ok(body.to_bytes()),
        Ok(Err(_)) => error(StatusCode::PAYLOAD_TOO_LARGE, too_large),
        Err(_) => error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    Err(Box::new(refusal))
}

fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Foreign(reason) => error(StatusCode::FORBIDDEN, reason),
        Refusal::Token => {
            let message = "a token is needed: `Authorization: Bearer TOKEN`";
            with(error(StatusCode::UNAUTHORIZED, message), WWW_AUTHENTICATE, "Bearer")
        }
    }
}

pub(super) fn error(code: StatusCode, message: &str) -> Answer {
    json(code, &json!({"error": message}))
}

pub(super) fn json(code: StatusCode, body: &impl Serialize) -> Answer {
    match serde_json::to_string_pretty(body) {
        Ok(text) => answer(code, "application/json", text + "\n"),
        // A file name that is not UTF-8 cannot be written as JSON.
        Err(failure) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", failure.to_string()),
    }
}

fn answer(code: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let response = with(response, CONTENT_TYPE, content_type);
    let response = with(response, CACHE_CONTROL, "no-store");
    with(response, X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn with(mut response: Answer, name: hyper::header::HeaderName, value: &'static str) -> Answer {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
