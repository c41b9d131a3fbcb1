//! A subscription to notifications.

use async_trait::async_trait;

use crate::notification::Notification;

/// A subscription to every notification, as [`Bus::subscribe`](crate::Bus::subscribe) opens it.
#[async_trait]
pub trait Subscription: Send {
    /// The next event; `None` once the bus is closed. Cancel safe.
    async fn next(&mut self) -> Option<Event>;
}

/// What a subscriber receives.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A notification was published.
    Notification(Notification),
    /// The subscriber was too slow, or the bus was away: this many notifications (0 = unknown) are lost. Ask again which
    /// workers there are.
    Missed(u64),
    /// The bus is back after a time away: announce yourself again.
    Reconnected,
}
