//! Whether and how the broker can be reached, now and at each change: for all tasks that depend on it.

use std::sync::Arc;
use std::time::Duration;

use lapin::{ConnectionState, ErrorKind};
use mshost_bus::BusState;
use mshost_core::backoff::Backoff;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::broker_address::BrokerAddress;
use super::connection::BrokerLink;
use crate::amqp_error;

/// The first and the longest wait between two attempts at what the broker refuses.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What is known of the broker. The supervisor of the connections writes it.
#[derive(Debug)]
pub(crate) struct Connectivity {
    pub(crate) address: BrokerAddress,
    /// The connections, for tasks that consume by them.
    pub(crate) link: watch::Sender<Option<BrokerLink>>,
    /// The same once all of these consume: for publishing.
    pub(crate) ready: watch::Sender<Option<BrokerLink>>,
    /// The broker wants publishers to wait.
    pub(crate) blocked: watch::Sender<bool>,
    pub(crate) state: watch::Sender<BusState>,
    /// Told where a task has noticed that something is wrong with a connection.
    pub(crate) trouble: Arc<Notify>,
    pub(crate) closed: CancellationToken,
    /// Why the broker gives no channel to publish by, where it does not.
    publish_channel_error: Mutex<Option<String>>,
}

impl Connectivity {
    /// Of a broker that has not been reached yet.
    pub(crate) fn new(address: BrokerAddress) -> Self {
        Self {
            address,
            link: watch::Sender::new(None),
            ready: watch::Sender::new(None),
            blocked: watch::Sender::new(false),
            state: watch::Sender::new(BusState::Away { error: "connecting for the first time".into() }),
            trouble: Arc::default(),
            closed: CancellationToken::new(),
            publish_channel_error: Mutex::default(),
        }
    }

    /// Notes how the last attempt to open a channel for publishing went.
    pub(crate) fn note_publish_channel(&self, error: Option<&lapin::Error>) {
        *self.publish_channel_error.lock() = error.map(amqp_error::text);
    }

    /// The connections, or an error while the broker is away.
    pub(crate) fn link(&self) -> lapin::Result<BrokerLink> {
        self.link
            .borrow()
            .clone()
            .ok_or_else(|| ErrorKind::InvalidConnectionState(ConnectionState::Reconnecting).into())
    }

    /// Whether the broker wants publishers to wait.
    pub(crate) fn is_blocked(&self) -> bool {
        *self.blocked.borrow()
    }

    /// Each link in turn, from the one that there is.
    pub(crate) fn links(&self) -> Links {
        Links { links: self.link.subscribe(), closed: self.closed.clone(), epoch: 0 }
    }

    /// Why a message was not confirmed in time.
    pub(crate) fn why_unconfirmed(&self) -> String {
        let broker = &self.address;
        if let BusState::Away { error } = &*self.state.borrow() {
            return format!("{broker} cannot be reached: {error}");
        }
        if self.is_blocked() {
            return format!("{broker} is low on memory or disk and takes no messages");
        }
        match &*self.publish_channel_error.lock() {
            Some(error) => format!("{broker} gives no channel to publish by: {error}"),
            None => format!("{broker} has not confirmed the message within `bus.send_timeout`"),
        }
    }
}

/// The links of a bus, one after the other.
pub(crate) struct Links {
    links: watch::Receiver<Option<BrokerLink>>,
    closed: CancellationToken,
    epoch: u64,
}

impl Links {
    /// Waits for a link newer than the one that this gave last; `None` once the bus is closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<BrokerLink> {
        let newer = |link: &Option<BrokerLink>| link.as_ref().is_some_and(|link| link.epoch > self.epoch);
        let link = tokio::select! {
            biased;
            () = self.closed.cancelled() => return None,
            link = self.links.wait_for(newer) => link.ok()?.clone()?,
        };
        self.epoch = link.epoch;
        Some(link)
    }
}

/// Shortened by up to half, so that hosts do not come back all at once.
pub(crate) fn backoff() -> Backoff {
    Backoff::new(BACKOFF.0, BACKOFF.1, 0.5)
}
