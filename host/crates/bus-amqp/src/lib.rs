//! The bus over RabbitMQ.
//!
//! [`names`] says what is declared on the broker. [`connection`] keeps two connections up, [`publisher`] sends through
//! one (with [`inflight`] for what is not confirmed yet), and each worker has a [`place`] on the other (by [`joining`], and
//! [`made`] for quorum queues that are new), which [`consumer`] takes jobs from, [`settle`] settles on, [`unbegun`] hands back and
//! [`leave`] tidies up. [`notices`] are the notifications, and [`foreign`] is what the original's workers say to each other.
//! After a reconnect everything is declared and consumed again, then senders go on with what was not confirmed.

mod acks;
mod attend;
mod connection;
mod consumer;
mod delays;
mod endpoint;
mod errors;
mod foreign;
mod graves;
mod hold;
mod inflight;
mod jobs;
mod joining;
mod leader;
mod leave;
mod made;
mod malformed;
mod members;
mod message;
mod names;
mod notices;
mod place;
mod publisher;
mod redelivery;
mod settle;
mod tls;
mod unbegun;
mod undone;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use mshost_bus::codec::encode_notification;
use mshost_bus::{
    Absent, Bus, BusError, BusLimits, BusState, BusTls, Codec, Consumer, ConsumerOptions, DeadLetter, DeadLetterStore,
    Durability, HostBus, Job, Leadership, MsjsBridge, MsjsSubscription, Notification, QueueDepth, Requeued, SendError,
    Subscription, type_queue,
};
use mshost_core::ids::{WorkerId, WorkerRef, WorkerType};
use mshost_core::metrics::Metrics;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Link;
use self::consumer::AmqpConsumer;
use self::endpoint::Endpoint;
use self::made::Made;
use self::malformed::MalformedLog;
use self::members::Members;
use self::message::Writer;
use self::notices::AmqpSubscription;
use self::place::Place;
use self::publisher::{Outgoing, PublishError, Publisher};
use self::settle::InHand;

/// How long closing waits for workers that have just left to take their queues away.
const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// What [`AmqpBus::connect`] needs to know.
pub struct AmqpOptions {
    /// `amqp://USER:PASSWORD@HOST:PORT/VHOST?heartbeat=SECONDS`, or `amqps://…`.
    pub url: String,
    /// Whom to trust and what to show, where the URL is `amqps://`.
    pub tls: BusTls,
    /// The codec of the whole bus.
    pub codec: Codec,
    /// What jobs outlive where their worker says nothing else, and what the host's own queues outlive at least.
    pub durability: Durability,
    /// Whether the queue of a type stays when its last worker leaves.
    pub absent: Absent,
    /// The limits of `[bus]`.
    pub limits: BusLimits,
    /// The name of this host, which the broker's tools show for its connections.
    pub host: String,
    /// Where reconnects and malformed messages are counted.
    pub metrics: Arc<Metrics>,
}

/// A bus over RabbitMQ. Dropping it closes it.
pub struct AmqpBus {
    shared: Arc<Shared>,
}

/// What all parts of the engine share.
struct Shared {
    codec: Codec,
    limits: BusLimits,
    endpoint: Endpoint,
    host: String,
    metrics: Arc<Metrics>,
    malformed: MalformedLog,
    /// Where the engine's tasks run; callers may be on any other.
    runtime: Handle,
    publisher: Publisher,
    writer: Writer,
    durability: Durability,
    absent: Absent,
    /// The connections, for whoever has a place on them.
    link: watch::Sender<Option<Link>>,
    /// The same, once all have their places: for publishing.
    ready: watch::Sender<Option<Link>>,
    /// The broker wants publishers to wait.
    blocked: watch::Sender<bool>,
    state: watch::Sender<BusState>,
    /// This host is the one that tidies up for all.
    leads: watch::Sender<bool>,
    members: Arc<Members>,
    /// Somebody has noticed that something is wrong with a connection.
    trouble: Notify,
    /// The workers of this host: how many jobs each has in hand, and its place.
    known: Mutex<HashMap<WorkerId, (InHand, Arc<Place>)>>,
    /// When this host last made a quorum queue.
    made: Made,
    /// Workers that are leaving.
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl AmqpBus {
    /// Starts to connect, and goes on trying: [`Bus::state`] says how it stands. The engine's tasks run on the tokio
    /// runtime that this is called in.
    ///
    /// # Errors
    /// [`BusError::Refused`] where the URL is none.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect(options: AmqpOptions) -> Result<Self, BusError> {
        let AmqpOptions { url, tls, codec, durability, absent, limits, host, metrics } = options;
        let endpoint = Endpoint::parse(&url, &tls)?;
        let runtime = Handle::current();
        let (publisher, requests) = Publisher::new(limits.in_flight, limits.send_timeout, runtime.clone());
        let shared = Arc::new(Shared {
            codec,
            limits,
            endpoint,
            host,
            malformed: MalformedLog::new(Arc::clone(&metrics)),
            metrics,
            runtime: runtime.clone(),
            publisher,
            writer: Writer::new(durability),
            durability,
            absent,
            link: watch::Sender::new(None),
            ready: watch::Sender::new(None),
            blocked: watch::Sender::new(false),
            state: watch::Sender::new(BusState::Away { error: "connecting for the first time".into() }),
            leads: watch::Sender::new(false),
            members: Arc::default(),
            trouble: Notify::new(),
            known: Mutex::default(),
            made: Made::default(),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        });
        runtime.spawn(connection::supervise(Arc::clone(&shared)));
        runtime.spawn(publisher::run(Arc::clone(&shared), requests));
        runtime.spawn(delays::run(Arc::clone(&shared)));
        runtime.spawn(undone::run(Arc::clone(&shared)));
        Ok(Self { shared })
    }
}

impl Shared {
    /// Whether the broker wants publishers to wait.
    fn block(&self, blocked: bool) {
        self.blocked.send_replace(blocked);
        self.metrics.bus_blocked.set(blocked.into());
    }

    /// The connections, or an error while the bus is away.
    fn link(&self) -> lapin::Result<Link> {
        self.link
            .borrow()
            .clone()
            .ok_or_else(|| lapin::ErrorKind::InvalidConnectionState(lapin::ConnectionState::Reconnecting).into())
    }

    async fn publish(&self, message: Outgoing) -> Result<(), PublishError> {
        self.publisher.publish(message, self).await
    }

    async fn publish_notification(&self, notification: &Notification) -> Result<(), BusError> {
        // There are codecs that have no way to write some notifications; then nothing is sent.
        let Some(message) = encode_notification(self.codec, notification)? else { return Ok(()) };
        let message = Outgoing {
            exchange: message.exchange.into(),
            key: message.routing_key.into(),
            mandatory: false,
            // None at all, as in the original.
            properties: lapin::BasicProperties::default(),
            body: message.body,
        };
        self.publish(message).await.map_err(settle::unavailable)
    }
}

#[async_trait]
impl Bus for AmqpBus {
    fn codec(&self) -> Codec {
        self.shared.codec
    }

    async fn send(&self, job: Job) -> Result<(), SendError> {
        self.shared.send(&job).await
    }

    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError> {
        let consumer = AmqpConsumer::join(Arc::clone(&self.shared), worker, options).await?;
        Ok(Box::new(consumer))
    }

    async fn publish(&self, notification: Notification) -> Result<(), BusError> {
        self.shared.publish_notification(&notification).await
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError> {
        let subscription = AmqpSubscription::subscribe(Arc::clone(&self.shared)).await?;
        Ok(Box::new(subscription))
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.shared.state.subscribe()
    }

    async fn close(&self) {
        if self.shared.closed.is_cancelled() {
            return;
        }
        // Workers that have left take their queues with them; that still needs the connection.
        self.shared.tasks.close();
        let timeout = {
            let _entered = self.shared.runtime.enter();
            tokio::time::sleep(CLOSE_WAIT)
        };
        tokio::select! {
            () = self.shared.tasks.wait() => {}
            () = timeout => {}
        }
        self.shared.shut().await;
    }
}

#[async_trait]
impl HostBus for AmqpBus {
    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self
    }

    fn leadership(&self) -> &dyn Leadership {
        self
    }

    fn msjs(&self) -> Option<&dyn MsjsBridge> {
        Some(self)
    }

    /// The queues of the workers of this host. `ready` and `consumers` are the broker's numbers for all hosts,
    /// `unsettled` is of this host: AMQP does not tell the others'. Empty while the bus is away.
    async fn depths(&self) -> Vec<QueueDepth> {
        let mut by_type: HashMap<WorkerType, Vec<WorkerId>> = HashMap::new();
        for id in self.shared.known.lock().keys() {
            by_type.entry(id.worker_type()).or_default().push(id.clone());
        }
        let mut depths = Vec::new();
        for (kind, workers) in by_type {
            depths.extend(self.depth(names::type_queue(&kind), type_queue(&kind), &workers).await);
            for id in workers {
                depths.extend(self.depth(names::id_queue(&id), id.to_string(), &[]).await);
            }
        }
        depths.sort_by(|a, b| a.queue.cmp(&b.queue));
        depths
    }
}

#[async_trait]
impl DeadLetterStore for AmqpBus {
    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        graves::list(&self.shared, limit).await
    }

    async fn count(&self) -> Option<u64> {
        Some(self.depth(names::DEAD.into(), names::DEAD.to_owned(), &[]).await?.ready)
    }

    async fn keep(&self, letter: DeadLetter) -> Result<(), BusError> {
        graves::keep(&self.shared, letter).await
    }

    async fn requeue(&self, ids: &[String]) -> Result<Requeued, BusError> {
        graves::requeue(&self.shared, ids).await
    }

    async fn purge(&self) -> Result<u64, BusError> {
        graves::purge(&self.shared).await
    }
}

#[async_trait]
impl Leadership for AmqpBus {
    fn compete(&self) {
        self.shared.runtime.spawn(leader::compete(Arc::clone(&self.shared)));
    }

    fn leads(&self) -> watch::Receiver<bool> {
        self.shared.leads.subscribe()
    }

    async fn delete_queue_of(&self, worker: &WorkerRef) -> Result<(), BusError> {
        leave::reap(&self.shared, worker).await
    }
}

#[async_trait]
impl MsjsBridge for AmqpBus {
    async fn subscribe(&self) -> Result<Box<dyn MsjsSubscription>, BusError> {
        Ok(Box::new(foreign::listen(&self.shared)))
    }
}

impl Shared {
    /// Stops everything.
    async fn shut(&self) {
        self.closed.cancel();
        self.state.send_replace(BusState::Closed);
        self.metrics.bus_connected.set(0);
        // The publisher ends once what is under way is confirmed, or will not be.
        self.publisher.ended().await;
        let link = self.link.send_replace(None);
        self.ready.send_replace(None);
        // lapin can leave a close unanswered.
        let timeout = {
            let _entered = self.runtime.enter();
            tokio::time::sleep(CLOSE_WAIT)
        };
        if let Some(link) = link {
            tokio::select! {
                () = link.close() => {}
                () = timeout => {}
            }
        }
    }
}

impl AmqpBus {
    /// One queue's depth, where the broker has it.
    async fn depth(&self, name: lapin::types::ShortString, queue: String, workers: &[WorkerId]) -> Option<QueueDepth> {
        let link = self.shared.link().ok()?;
        let declare = async {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            link.consume.create_channel().await?.queue_declare(name, passive, FieldTable::default()).await
        };
        let state = link.down.or(declare).await.ok()?;
        let known = self.shared.known.lock();
        let unsettled = workers.iter().filter_map(|id| known.get(id)).map(|(in_hand, place)| {
            // Where jobs wait, the broker has given every worker all that it may have.
            if state.message_count() > 0 { u64::from(place.prefetch) } else { in_hand.count() }
        });
        Some(QueueDepth {
            queue,
            ready: state.message_count().into(),
            unsettled: unsettled.sum(),
            consumers: state.consumer_count().into(),
        })
    }
}

impl Drop for AmqpBus {
    fn drop(&mut self) {
        if !self.shared.closed.is_cancelled() {
            let shared = Arc::clone(&self.shared);
            self.shared.runtime.spawn(async move { shared.shut().await });
        }
    }
}

impl fmt::Debug for AmqpBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpBus({})", self.shared.endpoint)
    }
}

impl fmt::Debug for AmqpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds a password.
        f.debug_struct("AmqpOptions").field("host", &self.host).field("codec", &self.codec).finish_non_exhaustive()
    }
}
