//! A client of the admin server of a running host.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long the host may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long it may take to answer: longer than it gives itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);

/// The most bytes of an answer.
const MAX_ANSWER: usize = 1 << 30;

/// A client of the admin server at this address.
pub(super) struct AdminClient {
    address: String,
}

/// A response.
pub(super) struct AdminReply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl AdminClient {
    pub(super) fn new(address: String) -> Self {
        Self { address }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether a host answers.
    ///
    /// # Errors
    /// That none does, and why.
    pub(super) async fn try_connect(&self) -> Result<(), String> {
        self.connect().await.map(drop)
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let fail = |why: &dyn fmt::Display| format!("no host answers at {} (`host.admin`): {why}", self.address);
        match tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(&self.address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(fail(&error)),
            Err(_) => Err(fail(&format!("not within {} s", CONNECT_LIMIT.as_secs()))),
        }
    }

    /// One request.
    ///
    /// # Errors
    /// Where no answer comes.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<AdminReply, String> {
        let stream = self.connect().await?;
        match tokio::time::timeout(ANSWER_LIMIT, self.exchange(stream, method, path, body)).await {
            Ok(Ok(said)) => Ok(said),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(self.broken(&format!("no answer within {} s", ANSWER_LIMIT.as_secs()))),
        }
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<AdminReply, Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder().method(method).uri(path).header(HOST, &self.address);
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(body)))?;
        let answer = async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok(AdminReply { status, body: Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes() })
        };
        // The connection has to be driven for the answer to come.
        tokio::pin!(answer);
        tokio::select! {
            answered = &mut answer => answered,
            Ok(()) = connection => answer.await,
        }
    }

    /// What to say of an answer that makes no sense.
    pub(super) fn broken(&self, why: &dyn fmt::Display) -> String {
        format!("what listens at {} does not answer as a host of this version does: {why}", self.address)
    }
}

impl AdminReply {
    /// What a refusal says in its `error`.
    pub(super) fn error(&self) -> Option<String> {
        let said: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        said["error"].as_str().map(str::to_owned)
    }
}
