//! Connection of a child to its host, shared by the [`RemoteBus`](super::RemoteBus), its consumers and its subscriptions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mshost_bus::{BusState, Codec, Event, Job};
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ipc::connection;
use crate::ipc::ipc_error::IpcError;
use crate::ipc::message::{
    ChildMessage, ConsumerId, DeliveryTag, HostCommand, HostMessage, MAX_HEAD_BYTES, RequestError, RequestId,
    SubscriptionId,
};
use crate::ipc::outbound_queue::OutboundQueue;

/// The properties of the bus that the child knows from the start.
#[derive(Debug, Clone, Copy)]
pub struct BusParameters {
    /// The codec of the bus.
    pub codec: Codec,
    /// The largest payload, in bytes.
    pub message_bytes: usize,
}

/// A job that the host has delivered.
pub(crate) struct ReceivedJob {
    pub(crate) tag: DeliveryTag,
    pub(crate) redelivered: bool,
    pub(crate) job: Job,
}

/// The state that the bus, its consumers and its subscriptions share with the task that reads.
pub(crate) struct ClientConnection {
    pub(crate) bus: BusParameters,
    pub(crate) outbound: Arc<OutboundQueue>,
    pending: Mutex<HashMap<RequestId, oneshot::Sender<Result<(), RequestError>>>>,
    pub(crate) consumers: Mutex<HashMap<ConsumerId, mpsc::Sender<ReceivedJob>>>,
    pub(crate) subscriptions: Mutex<HashMap<SubscriptionId, mpsc::Sender<Event>>>,
    next_ids: AtomicU64,
    pub(crate) state: watch::Sender<BusState>,
}

impl ClientConnection {
    pub(crate) fn new(bus: BusParameters, outbound: Arc<OutboundQueue>) -> Arc<Self> {
        Arc::new(Self {
            bus,
            outbound,
            pending: Mutex::default(),
            consumers: Mutex::default(),
            subscriptions: Mutex::default(),
            next_ids: AtomicU64::new(0),
            state: watch::Sender::new(BusState::Away { error: "the host has not said yet how it is".to_owned() }),
        })
    }

    /// The connection's task. Commands to the worker go to `on_command`.
    pub(crate) async fn run(
        &self,
        stream: UnixStream,
        mut on_command: impl FnMut(HostCommand, Bytes) -> Result<(), IpcError>,
    ) -> Result<(), IpcError> {
        let _closed = CloseOnDrop(self);
        let limit = self.bus.message_bytes + MAX_HEAD_BYTES;
        connection::run(stream, &self.outbound, limit, |message, tail| self.handle(message, tail, &mut on_command))
            .await
    }

    fn handle(
        &self,
        message: HostMessage,
        tail: Bytes,
        on_command: &mut impl FnMut(HostCommand, Bytes) -> Result<(), IpcError>,
    ) -> Result<(), IpcError> {
        match message {
            HostMessage::Response { request_id, result } => {
                // The sender of the request may no longer wait.
                let waiting = self.pending.lock().remove(&request_id);
                drop(waiting.map(|waiting| waiting.send(result)));
            }
            HostMessage::Deliver { consumer, tag, redelivered, job } => {
                let delivered = ReceivedJob { tag, redelivered, job: job.with(tail)? };
                let receiver = self.consumers.lock().get(&consumer).cloned();
                pass_on(receiver, delivered, "jobs")?;
            }
            HostMessage::ConsumerEnded { consumer } => drop(self.consumers.lock().remove(&consumer)),
            HostMessage::Event { subscription, event } => {
                let event = event.with(tail)?;
                let subscriber = self.subscriptions.lock().get(&subscription).cloned();
                pass_on(subscriber, event, "events")?;
            }
            HostMessage::SubscriptionEnded { subscription } => drop(self.subscriptions.lock().remove(&subscription)),
            HostMessage::BusState(state) => drop(self.state.send_replace(state.into())),
            HostMessage::Command(command) => on_command(command, tail)?,
        }
        Ok(())
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request to the host and waits for the response. `Err(RequestError::Closed)` where the connection ends.
    pub(crate) async fn request(
        &self,
        request: impl FnOnce(RequestId) -> ChildMessage,
        tail: &Bytes,
    ) -> Result<(), RequestError> {
        let request_id = self.next_id();
        let (waiting, response) = oneshot::channel();
        self.pending.lock().insert(request_id, waiting);
        let pending = PendingRequest { connection: self, request_id };
        if self.outbound.push(&request(request_id), tail).is_err() {
            return Err(RequestError::Closed);
        }
        let response = response.await.unwrap_or(Err(RequestError::Closed));
        drop(pending);
        response
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.outbound.is_closed()
    }
}

/// Guard of a request that cancels it when it is dropped before the response.
struct PendingRequest<'a> {
    connection: &'a ClientConnection,
    request_id: RequestId,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        let unanswered = self.connection.pending.lock().remove(&self.request_id).is_some();
        if unanswered {
            // Where the host is gone, nothing is left to be cancelled.
            let _ = self.connection.outbound.send(&ChildMessage::Cancel { request_id: self.request_id });
        }
    }
}

/// Guard that ends all that waits for the host, however the connection ends.
struct CloseOnDrop<'a>(&'a ClientConnection);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        let ClientConnection { outbound, pending, consumers, subscriptions, state, .. } = self.0;
        outbound.close();
        // Dropped after their locks: that wakes what waits.
        let ended = (std::mem::take(&mut *pending.lock()), std::mem::take(&mut *consumers.lock()));
        let events = std::mem::take(&mut *subscriptions.lock());
        state.send_replace(BusState::Closed);
        drop((ended, events));
    }
}

/// Passes on what the host delivers. Where its receiver is gone, the host learns that from another message and takes it back.
fn pass_on<T>(to: Option<mpsc::Sender<T>>, item: T, what: &str) -> Result<(), IpcError> {
    match to.map(|to| to.try_send(item).map_err(|error| matches!(error, mpsc::error::TrySendError::Full(_)))) {
        Some(Err(true)) => Err(IpcError::Malformed(format!("more {what} than were asked for"))),
        _ => Ok(()),
    }
}
