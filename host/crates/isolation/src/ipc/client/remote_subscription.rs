//! Subscription to the notifications of the bus, passed on by the host.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mshost_bus::{BusError, Event, Subscription};
use tokio::sync::mpsc;

use super::client_connection::ClientConnection;
use crate::ipc::message::{ChildMessage, EVENT_CREDIT, SubscriptionId};

pub(crate) struct RemoteSubscription {
    connection: Arc<ClientConnection>,
    id: SubscriptionId,
    events: mpsc::Receiver<Event>,
    consumed: u32,
}

impl RemoteSubscription {
    pub(crate) async fn subscribe(connection: &Arc<ClientConnection>) -> Result<Self, BusError> {
        let id = connection.next_id() as SubscriptionId;
        let (sender, events) = mpsc::channel(EVENT_CREDIT as usize);
        connection.subscriptions.lock().insert(id, sender);
        let subscription = Self { connection: Arc::clone(connection), id, events, consumed: 0 };
        connection
            .request(|request_id| ChildMessage::Subscribe { request_id, subscription: id }, &Bytes::new())
            .await?;
        Ok(subscription)
    }
}

#[async_trait]
impl Subscription for RemoteSubscription {
    async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await?;
        self.consumed += 1;
        if self.consumed == EVENT_CREDIT / 2 {
            let events = std::mem::take(&mut self.consumed);
            let _ = self.connection.outbound.send(&ChildMessage::AddCredit { subscription: self.id, events });
        }
        Some(event)
    }
}

impl Drop for RemoteSubscription {
    fn drop(&mut self) {
        drop(self.connection.subscriptions.lock().remove(&self.id));
        let _ = self.connection.outbound.send(&ChildMessage::Unsubscribe { subscription: self.id });
    }
}
