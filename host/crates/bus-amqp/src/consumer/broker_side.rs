//! What a session does on the broker in each phase: declares, consumes, waits, and watches its consumers.

use std::sync::Arc;
use std::time::Duration;

use mshost_bus::BusError;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::channel_attachment::ChannelAttachment;
use super::job_inbox::{ConsumerStreams, JobInbox, RunningConsumers};
use super::session_channel::SessionChannel;
use super::session_phase;
use super::worker_queues::WorkerQueues;
use crate::amqp_error;
use crate::broker_objects::names;
use crate::engine::AmqpEngine;
use crate::link::connection::BrokerLink;
use crate::link::connectivity::Links;
use crate::rejoin_barrier::RejoinGuard;
use crate::sessions::demand::Demand;
use crate::sessions::jobs_in_hand::JobsInHand;

/// How often queues and bindings are declared again in case an operator has deleted them: the broker tells a consumer that its
/// queue is gone, but not that nothing leads there any more.
const REDECLARE: Duration = Duration::from_secs(60);
/// How often joining meets a queue that the last worker of its type has just deleted, before that counts as a failure.
const RACES: u32 = 10;
/// The wait before such a queue is declared again.
const RACE_WAIT: Duration = Duration::from_millis(5);

pub(super) type SessionPhase = session_phase::SessionPhase<BrokerLink, ChannelAttachment>;
pub(super) type SessionEvent = session_phase::SessionEvent<BrokerLink, ChannelAttachment>;
pub(super) type JoinAttempt = session_phase::JoinAttempt<BrokerLink, ChannelAttachment>;

/// What a session asks of the broker, and what it needs for that.
pub(super) struct BrokerSide {
    pub(super) engine: Arc<AmqpEngine>,
    pub(super) queues: WorkerQueues,
    pub(super) prefetch: u16,
    pub(super) inbox: Arc<JobInbox>,
    pub(super) in_hand: Arc<JobsInHand>,
    pub(super) demand: watch::Sender<Demand>,
    pub(super) links: Links,
    /// The link that it has used last.
    pub(super) epoch: u64,
    /// Senders wait for this session after a reconnect, until it consumes.
    pub(super) rejoin: Option<RejoinGuard>,
    /// Who waits for the first time that it consumes.
    pub(super) joined: Option<oneshot::Sender<Result<(), BusError>>>,
}

impl BrokerSide {
    /// No more jobs come, and senders no longer wait for this session.
    pub(super) fn end(&mut self) -> SessionEvent {
        self.rejoin = None;
        self.joined = None;
        SessionEvent::Stop
    }

    /// Does what a phase is for, and gives what came of it. May be given up and begun again, except for a subscription to a
    /// channel with jobs in hand.
    pub(super) async fn progress(&mut self, phase: &mut SessionPhase) -> SessionEvent {
        match phase {
            SessionPhase::Disconnected => match self.links.next().await {
                Some(link) => {
                    self.epoch = link.epoch;
                    SessionEvent::Linked(link)
                }
                None => self.end(),
            },
            SessionPhase::Declaring(attempt) => self.declare(attempt).await,
            SessionPhase::Subscribing(attempt) => self.subscribe(attempt).await,
            SessionPhase::BackingOff(attempt) => self.back_off(attempt).await,
            SessionPhase::Consuming { link, .. } => self.watch_consumers(link).await,
            SessionPhase::Stopped { .. } => std::future::pending().await,
        }
    }

    async fn declare(&mut self, attempt: &JoinAttempt) -> SessionEvent {
        let demand = *self.demand.borrow();
        match self.queues.declare(&self.engine, &attempt.link, demand).await {
            Ok(()) => SessionEvent::Declared,
            Err(error) => self.failed(&attempt.link, &error),
        }
    }

    /// Starts the consumers that are wanted and do not run: on the channel that is there, if it still works, so that what was
    /// delivered by it can be settled.
    pub(super) async fn subscribe(&mut self, attempt: &mut JoinAttempt) -> SessionEvent {
        if attempt.attached.take_if(|attached| !attached.channel.is_open()).is_some() {
            self.inbox.detach();
        }
        let mut streams = ConsumerStreams::default();
        let attached = match &attempt.attached {
            Some(attached) => {
                let started = self.start_missing(&attached.channel, self.inbox.running(), &mut streams).await;
                // Also where only one of them was started.
                self.inbox.add(streams);
                started.map(|()| attempt.attached.take())
            }
            None => self.open(&attempt.link).await.map(Some),
        };
        match attached {
            Ok(Some(attached)) => {
                self.consumes();
                SessionEvent::Subscribed(attached)
            }
            Ok(None) => SessionEvent::Failed,
            Err(error)
                if amqp_error::code(&error) == Some(amqp_error::NOT_FOUND) && attempt.is_new_and_below(RACES) =>
            {
                tokio::time::sleep(RACE_WAIT).await;
                SessionEvent::QueueGone
            }
            Err(error) => self.failed(&attempt.link, &error),
        }
    }

    /// Consumes on a new channel. Dropped halfway, it closes that, and the broker has all back.
    async fn open(&self, link: &BrokerLink) -> lapin::Result<ChannelAttachment> {
        let channel = SessionChannel::open(link, self.prefetch, &self.engine.runtime).await?;
        let mut streams = ConsumerStreams::default();
        self.start_missing(&channel, RunningConsumers::NONE, &mut streams).await?;
        self.inbox.attach(Arc::clone(&channel), streams);
        Ok(ChannelAttachment { channel, marker: None })
    }

    /// First from the worker's own queue: if a queue has no leader the broker hangs there, together with all that it has delivered
    /// on the channel, and that would be jobs that others could do.
    async fn start_missing(
        &self,
        channel: &SessionChannel,
        running: RunningConsumers,
        streams: &mut ConsumerStreams,
    ) -> lapin::Result<()> {
        let (worker, demand) = (self.queues.worker(), *self.demand.borrow());
        if demand.wants_own() && !running.own {
            streams.own = Some(channel.consume(names::own_queue(&worker.id)).await?);
        }
        if demand.wants_type() && !running.by_type {
            streams.by_type = Some(channel.consume(names::type_queue(&worker.worker_type)).await?);
            // The last worker of the type may have unbound the queue between the two: see `queue_cleanup`.
            channel.bind_type(&worker.worker_type).await?;
        }
        Ok(())
    }

    /// Tells all who wait for that.
    fn consumes(&mut self) {
        if let Some(rejoin) = &self.rejoin {
            rejoin.consumes_at(self.epoch);
        }
        if let Some(joined) = self.joined.take() {
            let _ = joined.send(Ok(()));
        }
    }

    async fn back_off(&mut self, attempt: &mut JoinAttempt) -> SessionEvent {
        let JoinAttempt { backoff, wait_until, .. } = attempt;
        let until = *wait_until.get_or_insert_with(|| Instant::now() + backoff.next_wait());
        tokio::time::sleep_until(until).await;
        if attempt.link.is_up() { SessionEvent::WaitOver } else { self.unlinked() }
    }

    /// Returns when something is missing, or may be.
    async fn watch_consumers(&mut self, link: &BrokerLink) -> SessionEvent {
        tokio::select! {
            () = link.down.happened() => self.unlinked(),
            () = self.loss() => {
                self.engine.connectivity.trouble.notify_one();
                if !link.is_up() {
                    return self.unlinked();
                }
                info!(
                    target: "mshost::bus",
                    "{} no longer gets jobs from the broker; joining again", self.queues.worker().id
                );
                SessionEvent::Incomplete
            }
            () = tokio::time::sleep(REDECLARE) => SessionEvent::Incomplete,
        }
    }

    /// Returns when a wanted consumer does not run.
    async fn loss(&self) {
        loop {
            let (demand, running) = (*self.demand.borrow(), self.inbox.running());
            if (demand.wants_type() && !running.by_type) || (demand.wants_own() && !running.own) {
                return;
            }
            self.inbox.lost.notified().await;
        }
    }

    fn unlinked(&self) -> SessionEvent {
        self.inbox.detach();
        SessionEvent::Unlinked
    }

    /// What an error means for the session.
    fn failed(&mut self, link: &BrokerLink, error: &lapin::Error) -> SessionEvent {
        if !link.is_up() {
            return self.unlinked();
        }
        let error = amqp_error::explain(&format!("join as {}", self.queues.worker().id), error);
        if let BusError::Refused { .. } = error
            && let Some(joined) = self.joined.take()
        {
            let _ = joined.send(Err(error));
            return self.end();
        }
        warn!(target: "mshost::bus", "{error}");
        SessionEvent::Failed
    }
}

impl JoinAttempt {
    /// Whether it is on a new channel, and has met fewer than so many races.
    fn is_new_and_below(&self, races: u32) -> bool {
        self.attached.is_none() && self.races < races
    }
}
