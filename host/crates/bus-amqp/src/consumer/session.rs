//! The task of one worker's session with the broker.
//!
//! It alone starts and cancels the worker's consumers. In each phase ([`super::session_phase`]) it does what that phase is for and
//! listens to its worker's orders; both are given up when something better comes, except that a consumer is never left half started on
//! a channel that has jobs in hand.

use std::ops::ControlFlow;
use std::sync::Arc;

use mshost_bus::BusError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::broker_side::{BrokerSide, SessionEvent, SessionPhase};
use super::channel_attachment::ChannelAttachment;
use super::job_inbox::JobInbox;
use super::queue_cleanup;
use super::worker_queues::WorkerQueues;
use crate::engine::AmqpEngine;
use crate::link::connectivity::backoff;
use crate::sessions::demand::{Demand, SessionOrder};
use crate::sessions::jobs_in_hand::JobsInHand;

/// Where the outcome of the first attempt to join is told.
pub(super) type Joined = oneshot::Receiver<Result<(), BusError>>;

/// A worker's session; [`ConsumerSession::run`] is its task.
pub(super) struct ConsumerSession {
    orders: mpsc::Receiver<SessionOrder>,
    /// Tells that the worker's consumer was dropped. Closing the bus waits for the token.
    departure: oneshot::Receiver<TaskTrackerToken>,
    broker: BrokerSide,
    /// Deliveries that are being counted.
    counting: TaskTracker,
}

impl ConsumerSession {
    /// A session that has not begun, and where the outcome of joining will be told.
    pub(super) fn new(
        engine: Arc<AmqpEngine>,
        queues: WorkerQueues,
        prefetch: u16,
        (inbox, in_hand, counting): (Arc<JobInbox>, Arc<JobsInHand>, TaskTracker),
        (orders, departure): (mpsc::Receiver<SessionOrder>, oneshot::Receiver<TaskTrackerToken>),
    ) -> (Self, Joined) {
        let (joined, outcome) = oneshot::channel();
        let broker = BrokerSide {
            queues,
            prefetch,
            inbox,
            in_hand,
            demand: watch::Sender::new(Demand::TypeAndOwn),
            links: engine.connectivity.links(),
            epoch: 0,
            rejoin: Some(engine.rejoining.register()),
            joined: Some(joined),
            engine,
        };
        (Self { orders, departure, broker, counting }, outcome)
    }

    /// What the worker wants, now and at each change.
    pub(super) fn demand(&self) -> watch::Receiver<Demand> {
        self.broker.demand.subscribe()
    }

    /// Serves the worker until its consumer is dropped, then leaves nothing of it on the broker.
    pub(super) async fn run(mut self) {
        let mut phase = SessionPhase::Disconnected;
        let departing = loop {
            match self.next_event(&mut phase).await {
                ControlFlow::Continue(Some(event)) => phase = phase.after(event, backoff),
                ControlFlow::Continue(None) => {}
                ControlFlow::Break(token) => break token,
            }
        };
        self.depart(phase.into_attached()).await;
        drop(departing);
    }

    /// What happens next in a phase. Breaks off where the consumer was dropped.
    async fn next_event(
        &mut self,
        phase: &mut SessionPhase,
    ) -> ControlFlow<Option<TaskTrackerToken>, Option<SessionEvent>> {
        let Self { orders, departure, broker, .. } = self;
        // A consumer that is half started on a channel with jobs in hand cannot be given up.
        if let SessionPhase::Subscribing(attempt) = phase
            && attempt.attached.is_some()
        {
            return ControlFlow::Continue(Some(broker.subscribe(attempt).await));
        }
        let (engine, is_stopped) = (Arc::clone(&broker.engine), matches!(phase, SessionPhase::Stopped { .. }));
        tokio::select! {
            biased;
            token = departure => ControlFlow::Break(token.ok()),
            Some(SessionOrder { command, done }) = orders.recv() => {
                let event = broker.carry_out(command, phase.attached()).await;
                let _ = done.send(());
                ControlFlow::Continue(event)
            }
            () = engine.closed(), if !is_stopped => ControlFlow::Continue(Some(broker.end())),
            event = broker.progress(phase) => ControlFlow::Continue(Some(event)),
        }
    }

    /// Hands back what the worker has in hand, closes the channel, and deletes the queues that are no longer needed.
    async fn depart(self, attached: Option<ChannelAttachment>) {
        let Self { mut broker, counting, .. } = self;
        let _ = broker.end();
        let _ = broker.demand.send_replace(Demand::Nothing);
        if let Some(mut attached) = attached {
            broker.release_all(&mut attached).await;
            counting.close();
            let counted = async {
                counting.wait().await;
                Ok(())
            };
            let _ = attached.channel.while_up(counted).await;
            // Before the broker answers it has the started jobs back.
            attached.channel.close().await;
        }
        queue_cleanup::leave(&broker.engine, broker.queues.worker(), broker.queues.kind()).await;
    }
}
