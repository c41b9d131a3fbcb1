//! The host's end of a child's connection: does on the real bus what the child asks for.

mod hands;
mod pump;
mod rights;

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

use self::hands::Hands;
use self::pump::{JobPump, tell_events};
pub use self::rights::Rights;
use mshost_bus::{Bus, BusError, ConsumerOptions, Delivery, SendError};
use mshost_core::ids::WorkerRef;
use mshost_worker::{Progress, Prospect};

use super::link::{self, LinkError, Outbound};
use super::message::{Call, Fault, JobHead, NotificationHead, Number, Order, Reply, Request};
use super::remote::{HEAD, WINDOW};

const TARGET: &str = "mshost::isolation";

/// The most requests of one child that wait for the bus; more are refused.
const MAX_WAITING: usize = 65_536;

/// The most consumers, and the most subscriptions, of one child.
const MAX_PLACES: usize = 1_024;

/// Orders that wait for one consumer. A worker gives them one after the other.
const ORDERS: usize = 4;

/// Serves a child on `bus` until its connection ends. Then all that it had in hand has been handed back, as it is where this is
/// dropped. `message_bytes` is the largest payload.
///
/// # Errors
/// What is wrong with what the child says; what it had in hand has been handed back, too.
pub async fn serve(
    stream: UnixStream,
    bus: Arc<dyn Bus>,
    rights: Rights,
    message_bytes: usize,
) -> Result<(), ChildError> {
    let unknown = |request: Request, _| Err(LinkError::Malformed(format!("{request:?}, which is not of the bus")));
    Servant::new(bus, rights, None)
        .serve(stream, message_bytes, unknown)
        .await
        .map_err(|error| ChildError(error.to_string()))
}

/// What a child says is not what a child may say.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChildError(String);

/// A child's consumers: what each is told, and what is being settled of it.
type Consumers = HashMap<Number, (mpsc::Sender<(Call, Order)>, TaskTracker)>;
/// A child's subscriptions: what each may still be told.
type Windows = HashMap<Number, (Arc<Semaphore>, AbortHandle)>;

pub(super) struct Servant {
    bus: Arc<dyn Bus>,
    rights: Rights,
    outbound: Arc<Outbound>,
    hands: Arc<Hands>,
    consumers: Consumers,
    subscriptions: Windows,
    /// Sends that wait.
    sending: Arc<Mutex<HashMap<Call, AbortHandle>>>,
    tasks: TaskTracker,
    gone: CancellationToken,
}

impl Servant {
    pub(super) fn new(bus: Arc<dyn Bus>, rights: Rights, progress: Option<Arc<Progress>>) -> Self {
        Self {
            bus,
            rights,
            outbound: Arc::default(),
            hands: Arc::new(Hands::new(progress)),
            consumers: HashMap::new(),
            subscriptions: HashMap::new(),
            sending: Arc::default(),
            tasks: TaskTracker::new(),
            gone: CancellationToken::new(),
        }
    }

    /// What is to be told to the child besides.
    pub(super) fn outbound(&self) -> Arc<Outbound> {
        Arc::clone(&self.outbound)
    }

    /// See [`serve`]. What is not of the bus goes to `other`.
    pub(super) async fn serve(
        mut self,
        stream: UnixStream,
        message_bytes: usize,
        mut other: impl FnMut(Request, Bytes) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        let (tasks, gone) = (self.tasks.clone(), self.gone.clone());
        let _gone = gone.clone().drop_guard();
        self.tell_of_the_bus();
        let outbound = self.outbound();
        let hear = |request, tail| self.hear(request, tail, &mut other);
        let end = link::run(stream, &outbound, message_bytes + HEAD, hear).await;
        gone.cancel();
        drop(self);
        tasks.close();
        tasks.wait().await;
        end
    }

    /// Keeps the child informed of how the bus is.
    fn tell_of_the_bus(&self) {
        let (mut state, mut leads, outbound) = (self.bus.state(), self.bus.leads(), self.outbound());
        self.spawn(async move {
            loop {
                let told = outbound.tell(&Reply::State((&*state.borrow_and_update()).into()));
                if told.and(outbound.tell(&Reply::Leads(*leads.borrow_and_update()))).is_err() {
                    return;
                }
                let changed = tokio::select! {
                    changed = state.changed() => changed,
                    changed = leads.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
            }
        });
    }

    /// Runs a task until the child is gone.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let gone = self.gone.clone();
        self.tasks.spawn(async move { gone.run_until_cancelled(task).await }).abort_handle()
    }

    fn hear(
        &mut self,
        request: Request,
        tail: Bytes,
        other: &mut impl FnMut(Request, Bytes) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        match request {
            Request::Send { call, job } => self.send(call, job, tail)?,
            Request::Cancel { call } => {
                if let Some(sending) = self.sending.lock().remove(&call) {
                    sending.abort();
                }
            }
            Request::Join { call, consumer, worker, prefetch, durability } => {
                self.join(call, consumer, worker, ConsumerOptions { prefetch, durability })?;
            }
            Request::Order { call, consumer, order } => self.order(consumer, call, order),
            Request::Leave { consumer } => drop(self.consumers.remove(&consumer)),
            Request::Ack { tag } => self.settle(None, tag, Some(true), |delivery| Box::pin(delivery.ack())),
            Request::HandBack { tag, begun: true } => drop(self.hands.release(tag, None)),
            Request::HandBack { tag, begun: false } => {
                self.settle(None, tag, None, |delivery| Box::pin(delivery.put_back()));
            }
            Request::Requeue { call, tag } => {
                self.settle(Some(call), tag, None, |delivery| Box::pin(delivery.requeue()))
            }
            Request::Retry { call, tag, after } => {
                self.settle(Some(call), tag, Some(false), move |delivery| Box::pin(delivery.retry(after)));
            }
            Request::Bury { call, tag, death } => {
                self.settle(Some(call), tag, Some(false), move |delivery| Box::pin(delivery.bury(death.into())));
            }
            Request::Publish { call, notification } => self.publish(call, notification, tail)?,
            Request::Subscribe { call, subscription } => self.subscribe(call, subscription)?,
            Request::Heard { subscription, events } => {
                if let Some((window, _)) = self.subscriptions.get(&subscription) {
                    window.add_permits(events.min(WINDOW) as usize);
                }
            }
            Request::Unsubscribe { subscription } => {
                if let Some((_, telling)) = self.subscriptions.remove(&subscription) {
                    telling.abort();
                }
            }
            Request::Worker(_) => other(request, tail)?,
        }
        Ok(())
    }

    fn answer(&self, call: Call, result: Result<(), impl Into<Fault>>) {
        // Where the child is gone, nobody waits.
        let _ = self.outbound.tell(&Reply::Answer { call, result: result.map_err(Into::into) });
    }

    fn send(&self, call: Call, job: JobHead, payload: Bytes) -> Result<(), LinkError> {
        let job = job.with(payload)?;
        let tried = match self.rights.prospect(&job) {
            Prospect::Refused(refusal) => Ok(Err(refusal)),
            Prospect::Expected => Err(Box::new(job)),
            Prospect::Open => self.bus.try_send(job),
        };
        let job = match tried {
            Ok(sent) => {
                self.answer(call, sent);
                return Ok(());
            }
            Err(job) => job,
        };
        if self.tasks.len() >= MAX_WAITING {
            let why = format!("{MAX_WAITING} requests of this worker wait for the bus");
            self.answer(call, Err(SendError::Unavailable(why)));
            return Ok(());
        }
        let (bus, outbound, sending) = (Arc::clone(&self.bus), self.outbound(), Arc::clone(&self.sending));
        let reach = self.rights.reach().cloned();
        // Held, so that the task finds itself in the list.
        let mut list = self.sending.lock();
        let task = self.spawn(async move {
            let sent = match reach {
                Some(reach) => reach.send(&*bus, *job).await,
                None => bus.send(*job).await,
            };
            sending.lock().remove(&call);
            let _ = outbound.tell(&Reply::Answer { call, result: sent.map_err(Fault::from) });
        });
        list.insert(call, task);
        Ok(())
    }

    fn join(
        &mut self,
        call: Call,
        number: Number,
        worker: WorkerRef,
        options: ConsumerOptions,
    ) -> Result<(), LinkError> {
        if let Some(refusal) = self.rights.refuse_join(&worker) {
            self.answer(call, Err(refusal));
            return Ok(());
        }
        let ((orders, received), settling) = (mpsc::channel(ORDERS), TaskTracker::new());
        enter(&mut self.consumers, number, (orders, settling.clone()))?;
        let cautious = matches!(self.rights, Rights::Worker { .. });
        let pump = JobPump { number, outbound: self.outbound(), hands: Arc::clone(&self.hands), settling, cautious };
        let (bus, gone) = (Arc::clone(&self.bus), self.gone.clone());
        self.tasks.spawn(async move {
            let joined = gone.run_until_cancelled(bus.join(&worker, options)).await;
            let (consumer, result) = match joined {
                Some(Ok(consumer)) => (Some(consumer), Ok(())),
                Some(Err(error)) => (None, Err(error.into())),
                None => return,
            };
            if pump.outbound.tell(&Reply::Answer { call, result }).is_ok()
                && let Some(consumer) = consumer
            {
                // Ends by itself, in good order: what the child has settled is settled.
                pump.run(consumer, received).await;
            }
        });
        Ok(())
    }

    fn order(&self, consumer: Number, call: Call, order: Order) {
        let told = self.consumers.get(&consumer).is_some_and(|(orders, _)| orders.try_send((call, order)).is_ok());
        if !told {
            self.answer(call, Err(BusError::Closed));
        }
    }

    fn publish(&self, call: Call, notification: NotificationHead, tail: Bytes) -> Result<(), LinkError> {
        if let Some(refusal) = self.rights.refuse_notification(&notification) {
            self.answer(call, Err(refusal));
            return Ok(());
        }
        let (bus, notification) = (Arc::clone(&self.bus), notification.with(tail)?);
        self.carry_out(Some(call), &self.tasks, Box::pin(async move { bus.publish(notification).await }));
        Ok(())
    }

    fn subscribe(&mut self, call: Call, number: Number) -> Result<(), LinkError> {
        let window = Arc::new(Semaphore::new(WINDOW as usize));
        let (bus, rights, outbound) = (Arc::clone(&self.bus), self.rights.clone(), self.outbound());
        let telling = Arc::clone(&window);
        let task = self.spawn(async move {
            let (subscription, result) = match bus.subscribe().await {
                Ok(subscription) => (Some(subscription), Ok(())),
                Err(error) => (None, Err(error.into())),
            };
            if outbound.tell(&Reply::Answer { call, result }).is_ok()
                && let Some(subscription) = subscription
            {
                // An error means that the child is gone.
                let _ = tell_events(number, subscription, telling, rights, outbound).await;
            }
        });
        enter(&mut self.subscriptions, number, (window, task))
    }

    fn settle(&self, call: Option<Call>, tag: u64, is_done: Option<bool>, settle: impl FnOnce(Delivery) -> Settling) {
        let held = self.hands.release(tag, is_done);
        match held.and_then(|(consumer, delivery)| Some((self.consumers.get(&consumer)?, delivery))) {
            Some(((_, settling), delivery)) => self.carry_out(call, settling, settle(delivery)),
            // Its consumer is gone, and has handed it back.
            None => {
                if let Some(call) = call {
                    self.answer(call, Err(BusError::Closed));
                }
            }
        }
    }

    /// Begins at once, so that what the child asks for one after the other is done in this order; waits elsewhere.
    fn carry_out(&self, call: Option<Call>, elsewhere: &TaskTracker, mut work: Settling) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match work.as_mut().poll(&mut context) {
            std::task::Poll::Ready(result) => report(&self.outbound, call, result),
            std::task::Poll::Pending => {
                let outbound = self.outbound();
                elsewhere.spawn(async move { report(&outbound, call, work.await) });
            }
        }
    }
}

type Settling = Pin<Box<dyn Future<Output = Result<(), BusError>> + Send>>;

fn report(outbound: &Outbound, call: Option<Call>, result: Result<(), BusError>) {
    match (call, result) {
        (Some(call), result) => drop(outbound.tell(&Reply::Answer { call, result: result.map_err(Fault::from) })),
        (None, Ok(())) => {}
        (None, Err(error)) => {
            tracing::warn!(target: TARGET, "could not settle a job, it will come again: {error}");
        }
    }
}

fn enter<V>(places: &mut HashMap<Number, V>, number: Number, place: V) -> Result<(), LinkError> {
    // Those whose task has ended by itself stay until the child says that it has dropped them.
    if places.len() >= MAX_PLACES || places.contains_key(&number) {
        return Err(LinkError::Malformed(format!("place {number} of {}", places.len())));
    }
    places.insert(number, place);
    Ok(())
}
