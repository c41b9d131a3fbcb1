//! The route of reloads and their previews.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use super::reload::{MAX_TOPOLOGY, ReloadError, ReloadReport, ReloadSource};
use super::response::{AdminResponse, error, json, read_body};

/// How long the host may take: it tries new plugin files in a child process, each for some seconds at most.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Reads everything anew and says what has changed, or with `?dry_run=1` what would.
pub(super) async fn reload(source: &dyn ReloadSource, request: Request<Incoming>, max_body: usize) -> AdminResponse {
    let dry_run = match dry_run(request.uri().query().unwrap_or_default()) {
        Ok(dry_run) => dry_run,
        Err(message) => return error(StatusCode::BAD_REQUEST, &message),
    };
    let (limit, too_large) = if dry_run {
        (MAX_TOPOLOGY, format!("a topology may have {MAX_TOPOLOGY} bytes at most"))
    } else {
        (max_body, "a reload takes no body".to_owned())
    };
    let body = match read_body(request, limit, &too_large).await {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let Ok(text) = std::str::from_utf8(&body) else {
        return error(StatusCode::BAD_REQUEST, "the topology in the body is not UTF-8 text");
    };
    match (dry_run, text.is_empty()) {
        (true, true) => respond(in_time(source.preview(None)).await),
        (true, false) => respond(in_time(source.preview(Some(text.to_owned()))).await),
        (false, true) => respond(in_time(source.reload()).await),
        (false, false) => error(
            StatusCode::BAD_REQUEST,
            "a topology in the body is only compared (`?dry_run=1`); to apply it, write it to the host's file",
        ),
    }
}

fn dry_run(query: &str) -> Result<bool, String> {
    let mut dry_run = false;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        dry_run = match (&*key, &*value) {
            ("dry_run", "1" | "true") => true,
            ("dry_run", "0" | "false") => false,
            ("dry_run", _) => return Err(format!("`dry_run` must be 1 or 0, not `{value}`")),
            _ => return Err(format!("there is no `{key}` here, only `dry_run`")),
        };
    }
    Ok(dry_run)
}

async fn in_time(work: impl Future<Output = Result<ReloadReport, ReloadError>>) -> Result<ReloadReport, ReloadError> {
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or_else(|_| {
        let waited = TIMEOUT.as_secs();
        Err(ReloadError(format!("the host was not done after {waited} s; it goes on, `/api/topology` shows how")))
    })
}

/// A topology with errors is answered with all else that is known, and a status that scripts take for a failure.
fn respond(result: Result<ReloadReport, ReloadError>) -> AdminResponse {
    match result {
        Ok(report) if report.errors.is_empty() => json(StatusCode::OK, &report),
        Ok(report) => json(StatusCode::UNPROCESSABLE_ENTITY, &report),
        Err(ReloadError(message)) => error(StatusCode::SERVICE_UNAVAILABLE, &message),
    }
}
