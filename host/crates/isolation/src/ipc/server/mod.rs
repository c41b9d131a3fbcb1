//! IPC server: the host's end of a child's connection, which carries out the child's requests on the real bus.

mod bus_permissions;
mod forward;
mod unacked_deliveries;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::bus_permissions::BusPermissions;
use mshost_bus::{Bus, BusError, ConsumerOptions, Delivery, SendError};
use mshost_core::ids::WorkerRef;
use mshost_worker::{Progress, SendDecision};

use self::forward::{DeliveryForwarder, forward_events};
use self::unacked_deliveries::UnackedDeliveries;
use super::connection;
use super::ipc_error::IpcError;
use super::message::{
    ChildMessage, ChildReport, ConsumerCommand, ConsumerId, DeliveryTag, EVENT_CREDIT, HostMessage, IpcJob,
    IpcNotification, MAX_HEAD_BYTES, RequestError, RequestId, SubscriptionId,
};
use super::outbound_queue::OutboundQueue;

/// The most requests of one child that wait for the bus; more are refused.
const MAX_WAITING: usize = 65_536;

/// The most consumers, and the most subscriptions, of one child.
const MAX_OPEN: usize = 1_024;

/// The commands that wait for one consumer. A worker gives them one after the other.
const COMMANDS: usize = 4;

/// Serves a child on `bus` until its connection ends. By then its unacked deliveries have been returned, as they are where this
/// is dropped. `message_bytes` is the largest payload.
///
/// # Errors
/// Where the child broke the protocol; its unacked deliveries have been returned, too.
pub async fn serve(
    stream: UnixStream,
    bus: Arc<dyn Bus>,
    permissions: BusPermissions,
    message_bytes: usize,
) -> Result<(), ChildError> {
    let refuse = |report: ChildReport, _| Err(IpcError::Malformed(format!("{report:?}, which is not of the bus")));
    IpcServer::new(bus, permissions, None)
        .serve(stream, message_bytes, refuse)
        .await
        .map_err(|error| ChildError(error.to_string()))
}

/// A child that broke the protocol.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChildError(String);

/// The consumers of a child: the commands to each, and its settlements under way.
type OpenConsumers = HashMap<ConsumerId, (mpsc::Sender<(RequestId, ConsumerCommand)>, TaskTracker)>;
/// The subscriptions of a child: the credit of each, and its task.
type OpenSubscriptions = HashMap<SubscriptionId, (Arc<Semaphore>, AbortHandle)>;

/// The server of one child.
pub(crate) struct IpcServer {
    bus: Arc<dyn Bus>,
    permissions: BusPermissions,
    outbound: Arc<OutboundQueue>,
    unacked: Arc<UnackedDeliveries>,
    consumers: OpenConsumers,
    subscriptions: OpenSubscriptions,
    /// Sends that wait for the bus.
    sending: Arc<Mutex<HashMap<RequestId, AbortHandle>>>,
    tasks: TaskTracker,
    disconnected: CancellationToken,
}

impl IpcServer {
    pub(crate) fn new(bus: Arc<dyn Bus>, permissions: BusPermissions, progress: Option<Arc<Progress>>) -> Self {
        Self {
            bus,
            permissions,
            outbound: Arc::default(),
            unacked: Arc::new(UnackedDeliveries::new(progress)),
            consumers: HashMap::new(),
            subscriptions: HashMap::new(),
            sending: Arc::default(),
            tasks: TaskTracker::new(),
            disconnected: CancellationToken::new(),
        }
    }

    /// The queue of messages to the child.
    pub(crate) fn outbound(&self) -> Arc<OutboundQueue> {
        Arc::clone(&self.outbound)
    }

    /// See [`serve`]. Reports about the worker go to `on_report`.
    pub(crate) async fn serve(
        mut self,
        stream: UnixStream,
        message_bytes: usize,
        mut on_report: impl FnMut(ChildReport, Bytes) -> Result<(), IpcError>,
    ) -> Result<(), IpcError> {
        let (tasks, disconnected) = (self.tasks.clone(), self.disconnected.clone());
        let _on_drop = disconnected.clone().drop_guard();
        self.forward_bus_state();
        let outbound = self.outbound();
        let handle = |message, tail| self.handle(message, tail, &mut on_report);
        let end = connection::run(stream, &outbound, message_bytes + MAX_HEAD_BYTES, handle).await;
        disconnected.cancel();
        drop(self);
        tasks.close();
        tasks.wait().await;
        end
    }

    /// Keeps the child informed of the state of the bus.
    fn forward_bus_state(&self) {
        let (mut state, outbound) = (self.bus.state(), self.outbound());
        self.spawn(async move {
            loop {
                let sent = outbound.send(&HostMessage::BusState((&*state.borrow_and_update()).into()));
                if sent.is_err() || state.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Runs a task until the child disconnects.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let disconnected = self.disconnected.clone();
        self.tasks.spawn(async move { disconnected.run_until_cancelled(task).await }).abort_handle()
    }

    fn handle(
        &mut self,
        message: ChildMessage,
        tail: Bytes,
        on_report: &mut impl FnMut(ChildReport, Bytes) -> Result<(), IpcError>,
    ) -> Result<(), IpcError> {
        match message {
            ChildMessage::Send { request_id, job } => self.send(request_id, job, tail)?,
            ChildMessage::Cancel { request_id } => {
                if let Some(sending) = self.sending.lock().remove(&request_id) {
                    sending.abort();
                }
            }
            ChildMessage::Join { request_id, consumer, worker, prefetch, durability } => {
                self.join(request_id, consumer, worker, ConsumerOptions { prefetch, durability })?;
            }
            ChildMessage::Command { request_id, consumer, command } => self.command(consumer, request_id, command),
            ChildMessage::CloseConsumer { consumer } => drop(self.consumers.remove(&consumer)),
            ChildMessage::Ack { tag } => self.settle(None, tag, Some(true), |delivery| Box::pin(delivery.ack())),
            ChildMessage::Return { tag, started: true } => drop(self.unacked.remove(tag, None)),
            ChildMessage::Return { tag, started: false } => {
                self.settle(None, tag, None, |delivery| Box::pin(delivery.release()));
            }
            ChildMessage::Requeue { request_id, tag } => {
                self.settle(Some(request_id), tag, None, |delivery| Box::pin(delivery.requeue()))
            }
            ChildMessage::Retry { request_id, tag, after } => {
                self.settle(Some(request_id), tag, Some(false), move |delivery| Box::pin(delivery.retry(after)));
            }
            ChildMessage::DeadLetter { request_id, tag, death } => {
                self.settle(Some(request_id), tag, Some(false), move |delivery| {
                    Box::pin(delivery.dead_letter(death.into()))
                });
            }
            ChildMessage::Publish { request_id, notification } => self.publish(request_id, notification, tail)?,
            ChildMessage::Subscribe { request_id, subscription } => self.subscribe(request_id, subscription)?,
            ChildMessage::AddCredit { subscription, events } => {
                if let Some((credit, _)) = self.subscriptions.get(&subscription) {
                    credit.add_permits(events.min(EVENT_CREDIT) as usize);
                }
            }
            ChildMessage::Unsubscribe { subscription } => {
                if let Some((_, forwarding)) = self.subscriptions.remove(&subscription) {
                    forwarding.abort();
                }
            }
            ChildMessage::Report(report) => on_report(report, tail)?,
        }
        Ok(())
    }

    fn answer(&self, request_id: RequestId, result: Result<(), impl Into<RequestError>>) {
        // Lost where the child is gone.
        let _ = self.outbound.send(&HostMessage::Response { request_id, result: result.map_err(Into::into) });
    }

    fn send(&self, request_id: RequestId, job: IpcJob, payload: Bytes) -> Result<(), IpcError> {
        let job = job.with(payload)?;
        let tried = match self.permissions.decide(&job) {
            SendDecision::Refused(refusal) => Ok(Err(refusal)),
            SendDecision::AwaitWorker => Err(Box::new(job)),
            SendDecision::AskBus => self.bus.try_send(job),
        };
        let job = match tried {
            Ok(sent) => {
                self.answer(request_id, sent);
                return Ok(());
            }
            Err(job) => job,
        };
        if self.tasks.len() >= MAX_WAITING {
            let why = format!("{MAX_WAITING} requests of this worker wait for the bus");
            self.answer(request_id, Err(SendError::Unavailable(why)));
            return Ok(());
        }
        let (bus, outbound, sending) = (Arc::clone(&self.bus), self.outbound(), Arc::clone(&self.sending));
        let send_admission = self.permissions.send_admission().cloned();
        // Held so that the task finds itself in the map.
        let mut sends = self.sending.lock();
        let task = self.spawn(async move {
            let sent = match send_admission {
                Some(send_admission) => send_admission.send(&*bus, *job).await,
                None => bus.send(*job).await,
            };
            sending.lock().remove(&request_id);
            let _ = outbound.send(&HostMessage::Response { request_id, result: sent.map_err(RequestError::from) });
        });
        sends.insert(request_id, task);
        Ok(())
    }

    fn join(
        &mut self,
        request_id: RequestId,
        consumer_id: ConsumerId,
        worker: WorkerRef,
        options: ConsumerOptions,
    ) -> Result<(), IpcError> {
        if let Some(refusal) = self.permissions.refuse_join(&worker) {
            self.answer(request_id, Err(refusal));
            return Ok(());
        }
        let ((commands, received), settling) = (mpsc::channel(COMMANDS), TaskTracker::new());
        register(&mut self.consumers, consumer_id, (commands, settling.clone()))?;
        let redelivered_alone = matches!(self.permissions, BusPermissions::Worker { .. });
        let forwarder = DeliveryForwarder {
            consumer: consumer_id,
            outbound: self.outbound(),
            unacked: Arc::clone(&self.unacked),
            settling,
            redelivered_alone,
        };
        let (bus, disconnected) = (Arc::clone(&self.bus), self.disconnected.clone());
        self.tasks.spawn(async move {
            let joined = disconnected.run_until_cancelled(bus.join(&worker, options)).await;
            let (consumer, result) = match joined {
                Some(Ok(consumer)) => (Some(consumer), Ok(())),
                Some(Err(error)) => (None, Err(error.into())),
                None => return,
            };
            if forwarder.outbound.send(&HostMessage::Response { request_id, result }).is_ok()
                && let Some(consumer) = consumer
            {
                // Ends by itself when the child is gone, after the settlements that the child has sent.
                forwarder.run(consumer, received).await;
            }
        });
        Ok(())
    }

    fn command(&self, consumer: ConsumerId, request_id: RequestId, command: ConsumerCommand) {
        let sent =
            self.consumers.get(&consumer).is_some_and(|(commands, _)| commands.try_send((request_id, command)).is_ok());
        if !sent {
            self.answer(request_id, Err(BusError::Closed));
        }
    }

    fn publish(&self, request_id: RequestId, notification: IpcNotification, tail: Bytes) -> Result<(), IpcError> {
        if let Some(refusal) = self.permissions.refuse_notification(&notification) {
            self.answer(request_id, Err(refusal));
            return Ok(());
        }
        let (bus, notification) = (Arc::clone(&self.bus), notification.with(tail)?);
        self.begin(Some(request_id), &self.tasks, Box::pin(async move { bus.publish(notification).await }));
        Ok(())
    }

    fn subscribe(&mut self, request_id: RequestId, id: SubscriptionId) -> Result<(), IpcError> {
        let credit = Arc::new(Semaphore::new(EVENT_CREDIT as usize));
        let (bus, permissions, outbound) = (Arc::clone(&self.bus), self.permissions.clone(), self.outbound());
        let forwarding = Arc::clone(&credit);
        let task = self.spawn(async move {
            let (subscription, result) = match bus.subscribe().await {
                Ok(subscription) => (Some(subscription), Ok(())),
                Err(error) => (None, Err(error.into())),
            };
            if outbound.send(&HostMessage::Response { request_id, result }).is_ok()
                && let Some(subscription) = subscription
            {
                // An error means that the child is gone.
                let _ = forward_events(id, subscription, forwarding, permissions, outbound).await;
            }
        });
        register(&mut self.subscriptions, id, (credit, task))
    }

    fn settle(
        &self,
        request_id: Option<RequestId>,
        tag: DeliveryTag,
        is_done: Option<bool>,
        settle: impl FnOnce(Delivery) -> BusRequest,
    ) {
        let removed = self.unacked.remove(tag, is_done);
        match removed.and_then(|(consumer, delivery)| Some((self.consumers.get(&consumer)?, delivery))) {
            Some(((_, settling), delivery)) => self.begin(request_id, settling, settle(delivery)),
            // Its consumer is closed, which returned it.
            None => {
                if let Some(request_id) = request_id {
                    self.answer(request_id, Err(BusError::Closed));
                }
            }
        }
    }

    /// Polls at once, so that the requests of the child are begun in their order; waits in a task of `tracker`.
    fn begin(&self, request_id: Option<RequestId>, tracker: &TaskTracker, mut work: BusRequest) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match work.as_mut().poll(&mut context) {
            std::task::Poll::Ready(result) => respond(&self.outbound, request_id, result),
            std::task::Poll::Pending => {
                let outbound = self.outbound();
                tracker.spawn(async move { respond(&outbound, request_id, work.await) });
            }
        }
    }
}

/// A request on its way to the bus.
type BusRequest = Pin<Box<dyn Future<Output = Result<(), BusError>> + Send>>;

/// Answers a request; logs a failed one that is not answered.
fn respond(outbound: &OutboundQueue, request_id: Option<RequestId>, result: Result<(), BusError>) {
    match (request_id, result) {
        (Some(request_id), result) => {
            // Lost where the child is gone.
            let _ = outbound.send(&HostMessage::Response { request_id, result: result.map_err(RequestError::from) });
        }
        (None, Ok(())) => {}
        (None, Err(error)) => {
            tracing::warn!(target: "mshost::isolation", "could not settle a job, it will come again: {error}");
        }
    }
}

/// Adds a consumer or subscription that the child has opened.
fn register<V>(open: &mut HashMap<u32, V>, id: u32, value: V) -> Result<(), IpcError> {
    // One whose task has ended by itself stays until the child closes it.
    if open.len() >= MAX_OPEN || open.contains_key(&id) {
        return Err(IpcError::Malformed(format!("id {id} with {} open", open.len())));
    }
    open.insert(id, value);
    Ok(())
}
