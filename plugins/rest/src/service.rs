//! From request to response: all of the worker but sockets and bus.

use std::future::Future;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::{Request, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::config::RestConfig;
use crate::message::{Params, Question};
use crate::pending::Pending;
use crate::reply::{self, Refusal, Reply};
use crate::route::{NoRoute, Route};

/// The way to the other workers. The worker's context is one; tests bring their own.
pub trait Ask: Send + Sync + 'static {
    /// Sends a question. Its answer, or the report that it failed, comes through [`Pending::resolve`].
    ///
    /// # Errors
    /// Why it could not be sent, for the client.
    fn ask(&self, question: Question) -> impl Future<Output = Result<(), String>> + Send;
}

/// The movie service.
#[derive(Debug)]
pub struct Service<A> {
    bus: A,
    pending: Pending,
    config: RestConfig,
}

impl<A: Ask> Service<A> {
    /// A service that asks `bus` and hears the answers through `pending`.
    pub fn new(bus: A, pending: Pending, config: RestConfig) -> Self {
        Self { bus, pending, config }
    }

    /// Answers one request. Dropping the future (the client has left) gives the request up.
    pub async fn respond<B>(&self, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        self.answer(request).await.unwrap_or_else(Refusal::into_reply)
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<Reply, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let route = Route::of(request.method(), request.uri()).map_err(|no_route| match no_route {
            NoRoute::NotFound => Refusal::new(
                StatusCode::NOT_FOUND,
                format!("there is nothing at {} {}", request.method(), request.uri().path()),
            ),
            NoRoute::BadQuery(reason) => Refusal::new(StatusCode::BAD_REQUEST, reason),
        })?;
        let (method, params) = match route {
            Route::List { after } => ("GET", Params { after, ..Params::default() }),
            Route::One(id) => ("GET", Params { id: Some(id), ..Params::default() }),
            Route::Create => ("POST", Params { body: Some(self.movie(request).await?), ..Params::default() }),
        };
        self.exchange(method, params).await
    }

    /// One question to the bus, and its answer.
    async fn exchange(&self, method: &'static str, params: Params) -> Result<Reply, Refusal> {
        let full = || {
            let waiting = self.config.max_pending;
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("{waiting} requests are waiting already: try again"))
        };
        let mut ticket = self.pending.register().ok_or_else(full)?;
        let question = Question { method, params, res_id: ticket.id().to_owned(), time: now() };
        let answer = async {
            self.bus.ask(question).await?;
            ticket.outcome().await
        };
        match timeout(self.config.request_timeout.0, answer).await {
            Ok(Ok(answer)) => Ok(reply::from_answer(answer, method == "POST")),
            Ok(Err(reason)) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, reason)),
            Err(_) => {
                let limit = self.config.request_timeout.0;
                Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, format!("no answer within {limit:?}")))
            }
        }
    }

    /// The body of a `POST`: JSON with a usable title.
    async fn movie<B>(&self, request: Request<B>) -> Result<Value, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let bytes = self.read(request.into_body()).await?;
        let bad = |reason: String| Refusal::new(StatusCode::BAD_REQUEST, reason);
        // serde_json says the line and the column.
        let movie: Value =
            serde_json::from_slice(&bytes).map_err(|error| bad(format!("the body is not JSON: {error}")))?;
        let title = movie.get("title").and_then(Value::as_str).unwrap_or_default();
        if title.trim().is_empty() {
            return Err(bad("expected a movie with a `title`, like {\"title\": \"Alien\"}".into()));
        }
        Ok(movie)
    }

    async fn read<B>(&self, body: B) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let limit = self.config.body_limit.0;
        let too_large =
            || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body may have at most {limit} bytes"));
        // A length that is announced needs no reading to be refused.
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        match timeout(self.config.read_timeout.0, Limited::new(body, limit).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => Err(Refusal::new(StatusCode::BAD_REQUEST, format!("cannot read the body: {error}"))),
            Err(_) => {
                let limit = self.config.read_timeout.0;
                Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {limit:?}")))
            }
        }
    }
}

/// Milliseconds since the epoch, as the original's messages have them.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
