//! What all parts of the engine share.

use std::sync::Arc;

use mshost_bus::{Absent, BusError, BusLimits, BusState, Codec, Durability};
use mshost_core::metrics::Metrics;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::broker_objects::quorum_warmup::QuorumWarmup;
use super::broker_objects::shared_queues::SharedQueues;
use super::clock::Clock;
use super::link::broker_address::BrokerAddress;
use super::link::connectivity::Connectivity;
use super::malformed_log::MalformedLog;
use super::message::writer::MessageWriter;
use super::options::AmqpOptions;
use super::publisher::publish_handle::Publisher;
use super::publisher::publish_request::PublishRequests;
use super::rejoin_barrier::RejoinBarrier;
use super::sessions::session_registry::SessionRegistry;

/// What all parts of the engine share.
pub(super) struct AmqpEngine {
    pub(super) codec: Codec,
    pub(super) limits: BusLimits,
    pub(super) host: String,
    pub(super) durability: Durability,
    pub(super) absent: Absent,
    pub(super) metrics: Arc<Metrics>,
    pub(super) malformed: MalformedLog,
    /// Where the engine's tasks run; callers may be on any other.
    pub(super) runtime: Handle,
    pub(super) clock: Clock,
    pub(super) connectivity: Arc<Connectivity>,
    pub(super) publisher: Publisher,
    pub(super) writer: MessageWriter,
    pub(super) shared_queues: SharedQueues,
    /// When this host last made a quorum queue.
    pub(super) quorum_warmup: Arc<QuorumWarmup>,
    /// Whether all consumers and subscriptions are back after a reconnect.
    pub(super) rejoining: Arc<RejoinBarrier>,
    /// The workers of this host.
    pub(super) sessions: SessionRegistry,
    /// This host is the one that tidies up for all.
    pub(super) leads: watch::Sender<bool>,
    /// What closing waits for.
    pub(super) tasks: TaskTracker,
}

impl AmqpEngine {
    /// An engine that has no task yet, and what its publishing task takes. Its tasks will run on the runtime that this is called in.
    ///
    /// # Errors
    /// [`BusError::Refused`] where the URL is none.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new(options: AmqpOptions) -> Result<(Arc<Self>, PublishRequests), BusError> {
        let AmqpOptions { url, tls, codec, durability, absent, limits, host, metrics } = options;
        let connectivity = Arc::new(Connectivity::new(BrokerAddress::parse(&url, &tls)?));
        let runtime = Handle::current();
        let clock = Clock::of(&runtime);
        let (publisher, requests) = Publisher::new(
            limits.in_flight,
            limits.send_timeout,
            Arc::clone(&connectivity),
            Arc::clone(&metrics),
            clock.clone(),
        );
        let quorum_warmup = Arc::<QuorumWarmup>::default();
        let engine = Self {
            codec,
            host,
            durability,
            absent,
            malformed: MalformedLog::new(Arc::clone(&metrics), limits.message_bytes),
            metrics,
            runtime,
            clock,
            connectivity,
            publisher,
            writer: MessageWriter::new(durability),
            shared_queues: SharedQueues::new(durability, limits.dead_letters, Arc::clone(&quorum_warmup)),
            quorum_warmup,
            rejoining: Arc::default(),
            sessions: SessionRegistry::default(),
            leads: watch::Sender::new(false),
            tasks: TaskTracker::new(),
            limits,
        };
        Ok((Arc::new(engine), requests))
    }

    /// Whether the bus is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.connectivity.closed.is_cancelled()
    }

    /// Returns once the bus is closed.
    pub(super) async fn closed(&self) {
        self.connectivity.closed.cancelled().await;
    }

    /// Tells whether the bus can be used.
    pub(super) fn tell_state(&self, state: BusState) {
        self.metrics.bus_connected.set((state == BusState::Connected).into());
        self.connectivity.state.send_replace(state);
    }

    /// Tells whether the broker wants publishers to wait.
    pub(super) fn tell_blocked(&self, blocked: bool) {
        self.connectivity.blocked.send_replace(blocked);
        self.metrics.bus_blocked.set(blocked.into());
    }
}
