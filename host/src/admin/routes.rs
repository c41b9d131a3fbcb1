//! The routes of the admin server.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};
use mshost_core::metrics::Metrics;
use mshost_core::status::{HostStatus, StatusSource};
use serde_json::json;

use super::dead_letters::DeadLetterSource;
use super::reload::ReloadSource;
use super::request_guard::{RequestGuard, RequestRefusal};
use super::response::{AdminResponse, error, json, text, with_header};
use super::worker_restart::WorkerRestarter;
use super::{dead_letter_routes, reload_routes, restart_routes, status_gauges};

/// How long the source of a status may take.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);

/// The path of all dead letters.
const DEAD_LETTERS: &str = "/api/dead-letters";

/// What comes before the id of one.
const DEAD_LETTER_PREFIX: &str = "/api/dead-letters/";

/// Where dead letters are sent again.
const REQUEUE: &str = "/api/dead-letters/requeue";

/// What comes before the name of a worker that is to be restarted.
const WORKER_PREFIX: &str = "/api/workers/";

/// What comes after it.
const RESTART_SUFFIX: &str = "/restart";

/// Answers requests from what the host knows and can do.
pub(super) struct AdminRoutes {
    pub(super) metrics: Arc<Metrics>,
    pub(super) source: Arc<dyn StatusSource>,
    pub(super) dead_letters: Arc<dyn DeadLetterSource>,
    pub(super) workers: Arc<dyn WorkerRestarter>,
    pub(super) reload: Arc<dyn ReloadSource>,
    pub(super) guard: RequestGuard,
    pub(super) max_body: usize,
}

/// What a path asks for; ids and names are still percent-encoded.
#[derive(Clone, Copy)]
enum AdminRoute<'path> {
    Metrics,
    Health,
    Ready,
    Topology,
    Reload,
    Restart { worker: &'path str },
    DeadLetters,
    DeadLetter { id: &'path str },
    Requeue,
}

impl<'path> AdminRoute<'path> {
    fn of(path: &'path str) -> Option<Self> {
        Some(match path {
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/api/topology" => Self::Topology,
            "/api/reload" => Self::Reload,
            DEAD_LETTERS => Self::DeadLetters,
            REQUEUE => Self::Requeue,
            _ if path.starts_with(WORKER_PREFIX) && path.ends_with(RESTART_SUFFIX) => {
                let rest = path.strip_prefix(WORKER_PREFIX).unwrap_or_default();
                Self::Restart { worker: rest.strip_suffix(RESTART_SUFFIX).unwrap_or_default() }
            }
            _ => {
                let id = path.strip_prefix(DEAD_LETTER_PREFIX).filter(|id| !id.is_empty())?;
                Self::DeadLetter { id }
            }
        })
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Reload | Self::Restart { .. } | Self::Requeue => "POST",
            Self::DeadLetters => "GET, HEAD, DELETE",
            _ => "GET, HEAD",
        }
    }

    fn allows(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }
}

impl AdminRoutes {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> AdminResponse {
        let path = request.uri().path().to_owned();
        let route = AdminRoute::of(&path);
        let open = matches!(route, Some(AdminRoute::Health | AdminRoute::Ready));
        if let Err(refusal) = self.guard.check(request.headers(), open) {
            return refused(&refusal);
        }
        let Some(route) = route else {
            return error(StatusCode::NOT_FOUND, "not found");
        };
        if !route.allows(request.method()) {
            let message = format!("this path takes {} only", route.allow());
            return with_header(error(StatusCode::METHOD_NOT_ALLOWED, &message), ALLOW, route.allow());
        }
        match route {
            AdminRoute::Metrics => self.metrics().await,
            AdminRoute::Health => json(StatusCode::OK, &json!({"status": "alive"})),
            AdminRoute::Ready => self.ready().await,
            AdminRoute::Topology => match self.status().await {
                Ok(status) => json(StatusCode::OK, &status),
                Err(answer) => *answer,
            },
            AdminRoute::Reload => reload_routes::reload(&*self.reload, request, self.max_body).await,
            AdminRoute::Restart { worker } => {
                restart_routes::restart(&*self.workers, worker, request, self.max_body).await
            }
            AdminRoute::DeadLetters if request.method() == Method::DELETE => {
                dead_letter_routes::purge(&*self.dead_letters).await
            }
            AdminRoute::DeadLetters => {
                let query = request.uri().query().unwrap_or_default();
                dead_letter_routes::list(&*self.dead_letters, query).await
            }
            AdminRoute::DeadLetter { id } => dead_letter_routes::show(&*self.dead_letters, id).await,
            AdminRoute::Requeue => dead_letter_routes::requeue(&*self.dead_letters, request).await,
        }
    }

    async fn metrics(&self) -> AdminResponse {
        // A host that does not say how it is still has its counters.
        if let Ok(status) = self.status().await {
            status_gauges::set(&self.metrics, &status);
        }
        match self.metrics.render() {
            Ok(metrics) => text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics),
            Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
        }
    }

    async fn ready(&self) -> AdminResponse {
        let (reasons, warnings) = match self.status().await {
            Ok(status) => (status.unready(), status.warnings()),
            Err(answer) => return *answer,
        };
        let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(code, &json!({"ready": reasons.is_empty(), "reasons": reasons, "warnings": warnings}))
    }

    async fn status(&self) -> Result<HostStatus, Box<AdminResponse>> {
        tokio::time::timeout(STATUS_TIMEOUT, self.source.status()).await.map_err(|_| {
            let message = format!("the host did not say how it is within {} s", STATUS_TIMEOUT.as_secs());
            Box::new(error(StatusCode::SERVICE_UNAVAILABLE, &message))
        })
    }
}

fn refused(refusal: &RequestRefusal) -> AdminResponse {
    match refusal {
        RequestRefusal::Foreign(reason) => error(StatusCode::FORBIDDEN, reason),
        RequestRefusal::Token => {
            let message = "a token is needed: `Authorization: Bearer TOKEN`";
            with_header(error(StatusCode::UNAUTHORIZED, message), WWW_AUTHENTICATE, "Bearer")
        }
    }
}
