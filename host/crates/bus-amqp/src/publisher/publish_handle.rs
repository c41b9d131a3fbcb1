//! The senders' side of publishing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_core::backoff::Backoff;
use mshost_core::metrics::Metrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::publish_error::PublishError;
use super::publish_request::{PublishAnswer, PublishRequest, PublishRequests};
use crate::clock::Clock;
use crate::link::connectivity::Connectivity;
use crate::message::outgoing::OutgoingMessage;

/// The first and the longest wait before a message is offered again to a queue that is full.
const REFUSED_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// The senders' side.
#[derive(Debug)]
pub(crate) struct Publisher {
    requests: mpsc::Sender<PublishRequest>,
    connectivity: Arc<Connectivity>,
    metrics: Arc<Metrics>,
    window: Arc<Semaphore>,
    limit: usize,
    timeout: Duration,
    clock: Clock,
    /// Cancelled when the task has ended.
    ended: CancellationToken,
}

impl Publisher {
    /// The senders' side, for at most so many messages that are not confirmed, and what the task takes.
    pub(crate) fn new(
        window: usize,
        timeout: Duration,
        connectivity: Arc<Connectivity>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> (Self, PublishRequests) {
        let limit = window.clamp(1, Semaphore::MAX_PERMITS);
        // Each request holds a place in the window, so that there is always room for it here.
        let (requests, receiver) = mpsc::channel(limit);
        let window = Arc::new(Semaphore::new(limit));
        let ended = CancellationToken::new();
        let taken = PublishRequests { receiver, ended: ended.clone() };
        (Self { requests, connectivity, metrics, window, limit, timeout, clock, ended }, taken)
    }

    /// Publishes and waits for the confirm. Where the queue is full it waits outside of the window, which is there for those
    /// who empty it.
    pub(crate) async fn publish(&self, message: OutgoingMessage) -> Result<(), PublishError> {
        self.publish_if(message, true).await
    }

    /// The same, but does not wait for room: for those who make room in the queue.
    pub(crate) async fn offer(&self, message: OutgoingMessage) -> Result<(), PublishError> {
        self.publish_if(message, false).await
    }

    async fn publish_if(&self, message: OutgoingMessage, waits: bool) -> Result<(), PublishError> {
        let (message, deadline) = (Arc::new(message), Instant::now() + self.timeout);
        let mut backoff = Backoff::new(REFUSED_WAIT.0, REFUSED_WAIT.1, 0.5);
        let mut resent = false;
        let (broker, key) = (|| self.connectivity.address.to_string(), || message.key.to_string());
        loop {
            let error = match self.publish_once(Arc::clone(&message), deadline, resent).await? {
                PublishAnswer::Confirmed => return Ok(()),
                PublishAnswer::Returned => return Err(PublishError::Unroutable),
                PublishAnswer::Expired => return Err(self.unavailable()),
                PublishAnswer::Closed => return Err(PublishError::Closed),
                PublishAnswer::Refused => {
                    self.metrics.bus_refused.inc();
                    let error = PublishError::Refused { broker: broker(), key: key() };
                    if !waits {
                        return Err(error);
                    }
                    error
                }
                PublishAnswer::ReturnedAfterResend => {
                    resent = true;
                    PublishError::Doubtful { broker: broker(), key: key() }
                }
            };
            let again = Instant::now() + backoff.next_wait();
            if again >= deadline {
                return Err(error);
            }
            tokio::select! {
                () = self.clock.sleep_until(again) => {}
                () = self.connectivity.closed.cancelled() => return Err(PublishError::Closed),
            }
        }
    }

    async fn publish_once(
        &self,
        message: Arc<OutgoingMessage>,
        deadline: Instant,
        resent: bool,
    ) -> Result<PublishAnswer, PublishError> {
        let place = match Arc::clone(&self.window).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => self.wait_for_place(deadline).await?,
        };
        self.metrics.bus_in_flight.set(i64::try_from(self.in_flight()).unwrap_or(i64::MAX));
        let (reply, answer) = oneshot::channel();
        let request = PublishRequest { message, deadline, reply: Some(reply), resent, _place: place };
        if self.requests.try_send(request).is_err() {
            return Err(PublishError::Closed);
        }
        answer.await.map_err(|_| PublishError::Closed)
    }

    /// Returns once nothing more is published.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    async fn wait_for_place(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, PublishError> {
        tokio::select! {
            place = Arc::clone(&self.window).acquire_owned() => place.map_err(|_| PublishError::Closed),
            () = self.clock.sleep_until(deadline) => Err(self.unavailable()),
            () = self.connectivity.closed.cancelled() => Err(PublishError::Closed),
        }
    }

    fn unavailable(&self) -> PublishError {
        PublishError::Unavailable(self.connectivity.why_unconfirmed())
    }

    /// How many messages are not confirmed yet.
    fn in_flight(&self) -> usize {
        self.limit - self.window.available_permits()
    }
}
