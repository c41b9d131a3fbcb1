//! The bus as a worker in a process of its own has it: everything is asked of the host.

mod consumer;
mod subscription;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use mshost_plugin_api::EncodeError;
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use self::consumer::{Delivered, RemoteConsumer};
use self::subscription::RemoteSubscription;
pub(super) use self::subscription::WINDOW;
use mshost_bus::{
    Bus, BusError, BusState, Codec, Consumer, ConsumerOptions, DeadLetter, Event, Job, Notification, QueueDepth,
    Requeued, SendError, Subscription,
};
use mshost_core::ids::WorkerRef;
use mshost_plugin_host::StateSnapshot;
use mshost_worker::Progress;

use super::link::{self, LinkError, Outbound};
use super::message::{Call, Fault, JobHead, News, Notice, NotificationHead, Number, Reply, Request};
use super::snapshot::Pieces;

/// Room for the head of a message beside the payload, in bytes: 64 addresses, ids, an error text.
pub(super) const HEAD: usize = 256 << 10;

/// The most of what the host tells that waits for a worker: each is told once, but the two of a handover.
const NOTICES: usize = 8;

/// What the child knows of the bus from the start.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// How data is written.
    pub codec: Codec,
    /// The largest payload, in bytes.
    pub message_bytes: usize,
}

/// See the module. Dropping it closes the connection.
pub struct RemoteBus {
    shared: Arc<Shared>,
}

/// What the bus, its consumers and its subscriptions share with the task that reads.
struct Shared {
    facts: Facts,
    outbound: Arc<Outbound>,
    calls: Mutex<HashMap<Call, oneshot::Sender<Result<(), Fault>>>>,
    consumers: Mutex<HashMap<Number, mpsc::Sender<Delivered>>>,
    subscriptions: Mutex<HashMap<Number, mpsc::Sender<Event>>>,
    numbers: AtomicU64,
    state: watch::Sender<BusState>,
    leads: watch::Sender<bool>,
}

/// What the host tells a worker.
pub(super) enum Told {
    /// Drain and leave.
    Stop,
    /// Finish what was begun: the host closes.
    Finish,
    /// Stop taking jobs of the type, finish, and tell the state.
    HandOver,
    /// Nobody takes over after all.
    GoOn,
    /// Join the bus, with this state where there is any.
    Admit(Option<StateSnapshot>),
}

impl RemoteBus {
    /// Takes a socket whose other end a host [serves](super::serve). What arrives is read, and what is to go out written, by a
    /// task of the runtime that this is called in.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn connect(stream: UnixStream, facts: Facts) -> Self {
        let refuse = |notice, _| Err(LinkError::Malformed(format!("{notice:?}, which is not of the bus")));
        Self::open(stream, facts, Arc::default(), refuse)
    }

    /// As [`RemoteBus::connect`], with what the host tells the worker besides. Questions are answered at once, by the thread
    /// that this is called on. `beside` follows the worker that this one is on trial beside.
    pub(super) fn connect_worker(
        stream: UnixStream,
        facts: Facts,
        snapshot_limit: u64,
        beside: Arc<Progress>,
    ) -> (Self, mpsc::Receiver<Told>) {
        let (notices, received) = mpsc::channel(NOTICES);
        let outbound = Arc::<Outbound>::default();
        let answering = Arc::clone(&outbound);
        let pieces = Pieces::new(snapshot_limit);
        let pass_on = move |told| {
            notices.try_send(told).map_err(|_| LinkError::Malformed("more notices than there are".to_owned()))
        };
        let hear = move |notice, tail: Bytes| match notice {
            Notice::Ping(question) => Ok(answering.tell(&Request::Worker(News::Pong(question)))?),
            Notice::Beside(begun) => {
                beside.have_begun(begun);
                Ok(())
            }
            Notice::Piece => pieces.add(&tail),
            Notice::Admit(schema) => pass_on(Told::Admit(schema.map(|schema| pieces.take(schema)))),
            Notice::Stop => pass_on(Told::Stop),
            Notice::Finish => pass_on(Told::Finish),
            Notice::HandOver => pass_on(Told::HandOver),
            Notice::GoOn => pass_on(Told::GoOn),
        };
        (Self::open(stream, facts, outbound, hear), received)
    }

    /// Tells the host something that is not of the bus. Where it is gone, nobody hears it.
    pub(super) fn tell(&self, request: &Request) {
        self.tell_with(request, &Bytes::new());
    }

    /// As [`RemoteBus::tell`], with a tail.
    pub(super) fn tell_with(&self, request: &Request, tail: &Bytes) {
        let _ = self.shared.outbound.push(request, tail);
    }

    fn open(
        stream: UnixStream,
        facts: Facts,
        outbound: Arc<Outbound>,
        hear: impl FnMut(Notice, Bytes) -> Result<(), LinkError> + Send + 'static,
    ) -> Self {
        let bus = Self::new(facts, outbound);
        let shared = Arc::clone(&bus.shared);
        tokio::spawn(async move {
            if let Err(error) = shared.read_from(stream, hear).await {
                tracing::error!(target: "mshost::isolation", "the connection to the host fails: {error}");
            }
        });
        bus
    }

    fn new(facts: Facts, outbound: Arc<Outbound>) -> Self {
        let shared = Arc::new(Shared {
            facts,
            outbound,
            calls: Mutex::default(),
            consumers: Mutex::default(),
            subscriptions: Mutex::default(),
            numbers: AtomicU64::new(0),
            state: watch::Sender::new(BusState::Away { error: "the host has not said yet how it is".to_owned() }),
            leads: watch::Sender::new(false),
        });
        Self { shared }
    }
}

impl Shared {
    /// The connection's task. What is not of the bus goes to `other`.
    async fn read_from(
        &self,
        stream: UnixStream,
        mut other: impl FnMut(Notice, Bytes) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        let _closed = CloseAtEnd(self);
        let limit = self.facts.message_bytes + HEAD;
        link::run(stream, &self.outbound, limit, |reply, tail| self.hear(reply, tail, &mut other)).await
    }

    fn hear(
        &self,
        reply: Reply,
        tail: Bytes,
        other: &mut impl FnMut(Notice, Bytes) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        match reply {
            Reply::Answer { call, result } => {
                // Whoever asked may have given up.
                let asked = self.calls.lock().remove(&call);
                drop(asked.map(|asked| asked.send(result)));
            }
            Reply::Deliver { consumer, tag, redelivered, job } => {
                let delivered = Delivered { tag, redelivered, job: job.with(tail)? };
                let receiver = self.consumers.lock().get(&consumer).cloned();
                pass_on(receiver, delivered, "jobs")?;
            }
            Reply::Ended { consumer } => drop(self.consumers.lock().remove(&consumer)),
            Reply::Event { subscription, event } => {
                let event = event.with(tail)?;
                let subscriber = self.subscriptions.lock().get(&subscription).cloned();
                pass_on(subscriber, event, "events")?;
            }
            Reply::Silent { subscription } => drop(self.subscriptions.lock().remove(&subscription)),
            Reply::State(state) => drop(self.state.send_replace(state.into())),
            Reply::Leads(leads) => drop(self.leads.send_replace(leads)),
            Reply::Worker(notice) => other(notice, tail)?,
        }
        Ok(())
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks the host, and waits for its answer. `Err(Fault::Closed)` where it is gone.
    async fn ask(&self, request: impl FnOnce(Call) -> Request, tail: &Bytes) -> Result<(), Fault> {
        let call = self.number();
        let (asked, answer) = oneshot::channel();
        self.calls.lock().insert(call, asked);
        let asking = Asking { shared: self, call };
        if self.outbound.push(&request(call), tail).is_err() {
            return Err(Fault::Closed);
        }
        let answer = answer.await.unwrap_or(Err(Fault::Closed));
        drop(asking);
        answer
    }

    fn is_closed(&self) -> bool {
        self.outbound.is_finished()
    }
}

/// Somebody who waits for an answer, or no longer does.
struct Asking<'a> {
    shared: &'a Shared,
    call: Call,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let unanswered = self.shared.calls.lock().remove(&self.call).is_some();
        if unanswered {
            // Where the host is gone, nothing is left to be cancelled.
            let _ = self.shared.outbound.tell(&Request::Cancel { call: self.call });
        }
    }
}

/// However the connection ends, nobody may go on waiting for it.
struct CloseAtEnd<'a>(&'a Shared);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        let Shared { outbound, calls, consumers, subscriptions, state, .. } = self.0;
        outbound.finish();
        // Dropped after their locks: those who wait are woken by it.
        let ended = (std::mem::take(&mut *calls.lock()), std::mem::take(&mut *consumers.lock()));
        let heard = std::mem::take(&mut *subscriptions.lock());
        state.send_replace(BusState::Closed);
        drop((ended, heard));
    }
}

#[async_trait]
impl Bus for RemoteBus {
    fn codec(&self) -> Codec {
        self.shared.facts.codec
    }

    async fn send(&self, job: Job) -> Result<(), SendError> {
        let shared = &self.shared;
        let (size, limit) = (job.payload.bytes().len(), shared.facts.message_bytes);
        // The host would say the same, but takes no message that is so long.
        if job.payload.codec() == shared.facts.codec && size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
        if job.payload.codec() != shared.facts.codec {
            let (written, codec) = (job.payload.codec(), shared.facts.codec);
            let reason = format!("the data is written in {written}, but the bus speaks {codec}");
            return Err(EncodeError { codec, reason }.into());
        }
        shared.outbound.room().await;
        let head = JobHead::of(&job);
        shared.ask(|call| Request::Send { call, job: head }, job.payload.bytes()).await.map_err(SendError::from)
    }

    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError> {
        Ok(Box::new(RemoteConsumer::join(&self.shared, worker, options).await?))
    }

    async fn publish(&self, notification: Notification) -> Result<(), BusError> {
        let Some((notification, tail)) = NotificationHead::of(notification) else {
            return Err(refused("telling the jobs of the original"));
        };
        self.shared.outbound.room().await;
        self.shared.ask(|call| Request::Publish { call, notification }, &tail).await.map_err(BusError::from)
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(RemoteSubscription::subscribe(&self.shared).await?))
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.shared.state.subscribe()
    }

    fn leads(&self) -> watch::Receiver<bool> {
        self.shared.leads.subscribe()
    }

    async fn reap(&self, _worker: &WorkerRef) -> Result<(), BusError> {
        Err(refused("tidying up after a worker"))
    }

    async fn dead_letters(&self, _limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        Err(refused("looking at dead letters"))
    }

    async fn dead_count(&self) -> Option<u64> {
        None
    }

    async fn keep_dead(&self, _letter: DeadLetter) -> Result<(), BusError> {
        Err(refused("keeping a dead letter"))
    }

    async fn requeue_dead(&self, _ids: &[String]) -> Result<Requeued, BusError> {
        Err(refused("requeueing dead letters"))
    }

    async fn purge_dead(&self) -> Result<u64, BusError> {
        Err(refused("purging dead letters"))
    }

    async fn depths(&self) -> Vec<QueueDepth> {
        Vec::new()
    }

    /// Returns once all that was asked for has been handed to the system.
    async fn close(&self) {
        self.shared.outbound.finish();
        // It lives as long as this does.
        let _ = self.shared.state.subscribe().wait_for(|state| *state == BusState::Closed).await;
    }
}

impl Drop for RemoteBus {
    fn drop(&mut self) {
        self.shared.outbound.finish();
    }
}

impl fmt::Debug for RemoteBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBus").field("facts", &self.shared.facts).finish_non_exhaustive()
    }
}

/// What an isolated worker has no right to.
fn refused(what: &str) -> BusError {
    BusError::Refused { what: what.to_owned(), reason: "not for a worker in a process of its own".to_owned() }
}

/// Hands over what the host sends. Where whoever asked for it is gone, the host hears of that and takes it back.
fn pass_on<T>(to: Option<mpsc::Sender<T>>, item: T, what: &str) -> Result<(), LinkError> {
    match to.map(|to| to.try_send(item).map_err(|error| matches!(error, mpsc::error::TrySendError::Full(_)))) {
        Some(Err(true)) => Err(LinkError::Malformed(format!("more {what} than were asked for"))),
        _ => Ok(()),
    }
}
