//! Notifications: one ring buffer for all, read by each subscriber at its own pace.

use async_trait::async_trait;
use mshost_bus::{BusError, Event, Failure, Job, Notification, Subscription};
use parking_lot::RwLock;
use tokio::sync::broadcast::{self, error::RecvError};

/// The publisher of notifications. It never waits: a subscriber that lags behind by more than the ring holds is told how many
/// it missed.
pub(super) struct Notifier {
    /// `None` once the bus is closed.
    sender: RwLock<Option<broadcast::Sender<Notification>>>,
}

impl Notifier {
    pub(super) fn new(limit: usize) -> Self {
        // tokio refuses 0, and more than half the address space.
        let (sender, _) = broadcast::channel(limit.clamp(1, 1 << 24));
        Self { sender: RwLock::new(Some(sender)) }
    }

    pub(super) fn publish(&self, notification: Notification) -> Result<(), BusError> {
        let sender = self.sender.read();
        let sender = sender.as_ref().ok_or(BusError::Closed)?;
        // An error means that there is no subscriber.
        let _ = sender.send(notification);
        Ok(())
    }

    pub(super) fn subscribe(&self) -> Result<EmbeddedSubscription, BusError> {
        let sender = self.sender.read();
        let receiver = sender.as_ref().ok_or(BusError::Closed)?.subscribe();
        Ok(EmbeddedSubscription { receiver })
    }

    pub(super) fn close(&self) {
        // Dropped outside of the lock: this wakes the subscribers.
        let sender = self.sender.write().take();
        drop(sender);
    }

    /// Tells those who wait for a job's outcome that it is given up.
    pub(super) fn report(&self, job: &Job, error: &str) {
        for report in Failure::reports(job, error, None).rev() {
            // A closed bus has no subscriber left.
            let _ = self.publish(report);
        }
    }
}

/// A subscriber's position in the ring.
pub(super) struct EmbeddedSubscription {
    receiver: broadcast::Receiver<Notification>,
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next(&mut self) -> Option<Event> {
        match self.receiver.recv().await {
            Ok(notification) => Some(Event::Notification(notification)),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}
