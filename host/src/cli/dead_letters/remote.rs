//! Dead letters that a running host has: asked of its admin server.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::admin::{
    DeadLetterSource, LetterError, LetterFilter, LetterList, MAX_REQUEUED, Purged, RequeueReport, RequeueRequest,
};

/// How long the host may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long it may take to answer: longer than it gives its bus.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);

/// The most bytes of an answer.
const MAX_ANSWER: usize = 1 << 30;

/// The path of them all.
const LETTERS: &str = "/api/dead-letters";

/// The dead letters of the host whose admin server is at this address.
pub(super) struct RemoteLetters {
    address: String,
}

impl RemoteLetters {
    pub(super) fn new(address: String) -> Self {
        Self { address }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether anybody is there.
    pub(super) async fn try_connect(&self) -> Result<(), LetterError> {
        self.connect().await.map(drop)
    }

    async fn connect(&self) -> Result<TcpStream, LetterError> {
        let fail = |why: &dyn fmt::Display| {
            LetterError::Unavailable(format!("no host answers at {} (`host.admin`): {why}", self.address))
        };
        match tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(&self.address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(fail(&error)),
            Err(_) => Err(fail(&format!("not within {} s", CONNECT_LIMIT.as_secs()))),
        }
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<T, Unanswered> {
        let stream = self.connect().await?;
        let exchanged = tokio::time::timeout(ANSWER_LIMIT, self.exchange(stream, method, path, body)).await;
        let (status, body) = match exchanged {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.broken(&error)),
            Err(_) => return Err(self.broken(&format!("no answer within {} s", ANSWER_LIMIT.as_secs()))),
        };
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| self.broken(&error));
        }
        let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        match said["error"].as_str() {
            Some(message) => Err(Unanswered { status: Some(status), message: message.to_owned() }),
            None => Err(self.broken(&format!("it answers {status}"))),
        }
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder().method(method).uri(path).header(HOST, &self.address);
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(body)))?;
        let answer = async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok((status, Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes()))
        };
        // The connection has to be driven for the answer to come.
        tokio::pin!(answer);
        tokio::select! {
            answered = &mut answer => answered,
            Ok(()) = connection => answer.await,
        }
    }

    fn broken(&self, why: &dyn fmt::Display) -> Unanswered {
        let message = format!("what listens at {} does not answer as a host of this version does: {why}", self.address);
        Unanswered { status: None, message }
    }
}

/// Why there is no answer.
struct Unanswered {
    status: Option<StatusCode>,
    message: String,
}

impl From<LetterError> for Unanswered {
    fn from(error: LetterError) -> Self {
        Self { status: None, message: error.to_string() }
    }
}

impl From<Unanswered> for LetterError {
    fn from(Unanswered { status, message }: Unanswered) -> Self {
        if status == Some(StatusCode::BAD_REQUEST) { Self::Invalid(message) } else { Self::Unavailable(message) }
    }
}

fn question(LetterFilter { worker_type, reason }: &LetterFilter, limit: usize) -> String {
    let mut query = form_urlencoded::Serializer::new(format!("{LETTERS}?limit={limit}"));
    for (key, value) in [("type", worker_type), ("reason", reason)] {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    query.finish()
}

#[async_trait]
impl DeadLetterSource for RemoteLetters {
    async fn list(&self, filter: &LetterFilter, limit: usize) -> Result<LetterList, LetterError> {
        Ok(self.ask(Method::GET, &question(filter, limit), Vec::new()).await?)
    }

    async fn show(&self, id: &str) -> Result<LetterList, LetterError> {
        let path = format!("{LETTERS}/{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
        match self.ask(Method::GET, &path, Vec::new()).await {
            Ok(list) => Ok(list),
            Err(Unanswered { status: Some(StatusCode::NOT_FOUND), .. }) => {
                Ok(LetterList { total: None, truncated: false, letters: Vec::new() })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn requeue(&self, ids: &[String]) -> Result<RequeueReport, LetterError> {
        let mut report = RequeueReport::default();
        for ids in ids.chunks(MAX_REQUEUED) {
            let body = serde_json::to_vec(&RequeueRequest { ids: ids.to_vec() });
            let body = body.map_err(|error| LetterError::Invalid(error.to_string()))?;
            let asked = self.ask::<RequeueReport>(Method::POST, &format!("{LETTERS}/requeue"), body).await;
            let RequeueReport { sent, refused, unknown } = asked.map_err(|error| {
                let (sent, message) = (report.sent.len(), error.message);
                LetterError::Unavailable(format!("{message} ({sent} were sent again before that)"))
            })?;
            report.sent.extend(sent);
            report.refused.extend(refused);
            report.unknown.extend(unknown);
        }
        Ok(report)
    }

    async fn purge(&self) -> Result<u64, LetterError> {
        let Purged { purged } = self.ask(Method::DELETE, LETTERS, Vec::new()).await?;
        Ok(purged)
    }
}
