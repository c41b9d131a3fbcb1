//! One connection of a load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::HttpLoad;
use super::report::{Live, LoadTally};

/// The header by which a response says which version made it.
const SERVED_BY: &str = "x-served-by";

/// The pause after a failure, so that a server that is down is asked and not hammered.
const PAUSE: Duration = Duration::from_millis(10);

/// The most of an unexpected body that goes into a reason.
const MAX_BODY_SHOWN: usize = 200;

/// How often a request may meet a connection that has just been closed, and go to a fresh one, before that is a failure.
const MAX_UNSENT: usize = 5;

type RequestSender = SendRequest<Empty<Bytes>>;

/// Asks one request after the other, on one connection as long as the server keeps it.
pub(super) struct LoadConnection {
    load: Arc<HttpLoad>,
    live: Arc<Live>,
    started: Instant,
    tally: LoadTally,
    sender: Option<RequestSender>,
    last_served_by: Vec<u8>,
}

impl LoadConnection {
    pub fn new(load: Arc<HttpLoad>, live: Arc<Live>, started: Instant) -> Self {
        Self { load, live, started, tally: LoadTally::default(), sender: None, last_served_by: Vec::new() }
    }

    pub async fn run(mut self, stop: Arc<AtomicBool>) -> LoadTally {
        while !stop.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let limit = self.load.timeout;
            let outcome =
                timeout(limit, self.exchange()).await.unwrap_or_else(|_| Err(format!("no response within {limit:?}")));
            match outcome {
                Ok(()) => {
                    self.tally.record(asked.elapsed());
                    self.live.succeed();
                }
                Err(reason) => {
                    self.sender = None;
                    self.live.fail(self.started.elapsed(), reason);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self.tally
    }

    async fn exchange(&mut self) -> Result<(), String> {
        let response = self.send().await?;
        let status = response.status().as_u16();
        if let Some(version) = response.headers().get(SERVED_BY)
            && version.as_bytes() != self.last_served_by
        {
            self.live.serve(&String::from_utf8_lossy(version.as_bytes()));
            self.last_served_by = version.as_bytes().to_vec();
        }
        let body = response.into_body().collect().await.map_err(|error| broken("in the body", &error))?.to_bytes();
        if status == self.load.expected_status {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&body[..body.len().min(MAX_BODY_SHOWN)]).into_owned();
        Err(format!("expected {}, got {status}: {shown}", self.load.expected_status))
    }

    /// Sends until a connection takes the request. One that was closed before a byte was sent does not count.
    async fn send(&mut self) -> Result<Response<Incoming>, String> {
        let mut last = String::new();
        for _ in 0..MAX_UNSENT {
            let mut sender = match self.sender.take() {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(self.request()?).await {
                Ok(response) => {
                    self.sender = Some(sender);
                    return Ok(response);
                }
                Err(error) if error.message().is_some() => last = error.into_error().to_string(),
                Err(error) => return Err(broken("before the response", &error.into_error())),
            }
        }
        Err(format!("{MAX_UNSENT} connections closed before the request was sent: {last}"))
    }

    async fn connect(&self) -> Result<RequestSender, String> {
        let stream = TcpStream::connect(self.load.address).await.map_err(|error| format!("cannot connect: {error}"))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("cannot connect: {error}"))?;
        // Its errors come out of the request that they hit.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, String> {
        Request::get(&self.load.path)
            .header(HOST, self.load.address.to_string())
            .body(Empty::new())
            .map_err(|error| format!("cannot make the request: {error}"))
    }
}

fn broken(when: &str, error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("the connection broke {when}: {error}: {source}"),
        None => format!("the connection broke {when}: {error}"),
    }
}
