//! What everybody is told, passed on by the host.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mshost_bus::{BusError, Event, Subscription};
use tokio::sync::mpsc;

use super::Shared;
use crate::message::{Number, Request};

/// The most events that wait here. The host sends no more than it has been asked for, so that a slow subscriber is told by the
/// bus itself how many it has missed.
pub(crate) const WINDOW: u32 = 256;

pub(super) struct RemoteSubscription {
    shared: Arc<Shared>,
    number: Number,
    events: mpsc::Receiver<Event>,
    heard: u32,
}

impl RemoteSubscription {
    pub(super) async fn subscribe(shared: &Arc<Shared>) -> Result<Self, BusError> {
        let number = shared.number() as Number;
        let (sender, events) = mpsc::channel(WINDOW as usize);
        shared.subscriptions.lock().insert(number, sender);
        let subscription = Self { shared: Arc::clone(shared), number, events, heard: 0 };
        shared.ask(|call| Request::Subscribe { call, subscription: number }, &Bytes::new()).await?;
        Ok(subscription)
    }
}

#[async_trait]
impl Subscription for RemoteSubscription {
    async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await?;
        self.heard += 1;
        if self.heard == WINDOW / 2 {
            let events = std::mem::take(&mut self.heard);
            let _ = self.shared.outbound.tell(&Request::Heard { subscription: self.number, events });
        }
        Some(event)
    }
}

impl Drop for RemoteSubscription {
    fn drop(&mut self) {
        drop(self.shared.subscriptions.lock().remove(&self.number));
        let _ = self.shared.outbound.tell(&Request::Unsubscribe { subscription: self.number });
    }
}
