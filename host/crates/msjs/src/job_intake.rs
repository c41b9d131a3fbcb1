//! The intake of jobs that workers of MicroServices.js send to workers of mshost.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mshost_bus::{Failure, HostBus, Job, MsjsEvent, MsjsSubscription, Notification, SendError, WireJob};
use mshost_core::ids::Address;
use mshost_manager::Registry;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::counters::{InboundOutcome, MsjsCounters};
use super::deduplication::{Deduplicator, IntakeStage, bus_job_id};
use super::pending_acks::PendingAcks;
use super::wording::{LOG, NO_WORKER};

/// How long no sender is told that there is no worker: at first the manager does not know yet which workers there are, and
/// MicroServices.js sends a job again after 2 s.
const GRACE: Duration = Duration::from_secs(2);

/// A job of MicroServices.js is no longer wanted after this time, as by default a job of mshost.
const DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Which side a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recipient {
    /// A worker of mshost.
    Mshost,
    /// A worker of MicroServices.js, or not known yet.
    Msjs,
    /// There is no worker for it.
    NoWorker,
}

/// Takes jobs in from the workers of MicroServices.js.
pub(super) struct JobIntake<'a> {
    bus: &'a Arc<dyn HostBus>,
    registry: &'a Registry,
    counters: &'a MsjsCounters,
    acks: &'a PendingAcks,
    seen: Mutex<Deduplicator>,
    /// Since when they are heard.
    since: Mutex<Instant>,
}

impl<'a> JobIntake<'a> {
    pub(super) fn new(
        bus: &'a Arc<dyn HostBus>,
        registry: &'a Registry,
        counters: &'a MsjsCounters,
        acks: &'a PendingAcks,
    ) -> Self {
        let (seen, since) = (Mutex::new(Deduplicator::new()), Mutex::new(Instant::now()));
        Self { bus, registry, counters, acks, seen, since }
    }

    /// Goes on until the bus is closed. The engine bounds how many jobs are under way.
    pub(super) async fn run(&self, mut subscription: Box<dyn MsjsSubscription>) {
        let mut jobs = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = jobs.next(), if !jobs.is_empty() => {}
                event = subscription.next() => match event {
                    Some(MsjsEvent::Listening) => *self.since.lock() = Instant::now(),
                    Some(MsjsEvent::Taken(ack)) => self.acks.settle(&ack),
                    Some(MsjsEvent::Next(job, receipt)) => jobs.push(async move {
                        let outcome = self.consider(job).await;
                        self.counters.inbound(outcome);
                        receipt.give();
                    }),
                    None => return,
                },
            }
        }
    }

    async fn consider(&self, job: WireJob) -> InboundOutcome {
        match self.recipient_of(&job) {
            Recipient::Mshost => self.take(job).await,
            Recipient::Msjs => InboundOutcome::Left,
            Recipient::NoWorker => self.refuse(job, NO_WORKER).await,
        }
    }

    fn recipient_of(&self, job: &WireJob) -> Recipient {
        match job.route.target() {
            Address::One(id) => match self.registry.get(id) {
                Some(worker) if worker.host.is_some() => return Recipient::Mshost,
                Some(_) => return Recipient::Msjs,
                None => {}
            },
            Address::Any(kind) => {
                let counts = self.registry.counts_of(kind);
                // Of a type that both serve, the pool of MicroServices.js takes what its workers send.
                if counts.msjs > 0 {
                    return Recipient::Msjs;
                }
                if counts.mshost > 0 {
                    return Recipient::Mshost;
                }
            }
        }
        let is_of_mshost = |worker| self.registry.get(worker).is_some_and(|known| known.host.is_some());
        // What a proxy has published is settled by that proxy.
        let own = self.acks.has(&job.id) || is_of_mshost(&job.sender.id);
        let early = self.since.lock().elapsed() < GRACE;
        if own || early { Recipient::Msjs } else { Recipient::NoWorker }
    }

    /// Sends a job on the bus, once, and only then acks it.
    async fn take(&self, wire: WireJob) -> InboundOutcome {
        let id = bus_job_id(&wire);
        let known = self.seen.lock().begin(&id);
        match known {
            Some(IntakeStage::Sending) => return InboundOutcome::Duplicate,
            Some(IntakeStage::Taken) => {
                // The first ack may have been lost.
                self.acknowledge(wire).await;
                return InboundOutcome::Duplicate;
            }
            None => {}
        }
        let job = Job {
            correlation: id.clone(),
            id: id.clone(),
            route: wire.route.clone(),
            origin: wire.sender.clone(),
            sender: wire.sender.clone(),
            attempt: 1,
            deadline: SystemTime::now().checked_add(DEADLINE),
            payload: wire.payload.clone(),
        };
        let error = match self.bus.send(job).await {
            Ok(()) => {
                self.seen.lock().finish(id);
                self.acknowledge(wire).await;
                return InboundOutcome::Taken;
            }
            Err(error) => error,
        };
        self.seen.lock().forget(&id);
        match error {
            SendError::Unavailable(reason) => {
                tracing::debug!(target: LOG, job = %id, "not taken now: {reason}");
                InboundOutcome::Deferred
            }
            SendError::NoWorker(_) => self.refuse(wire, NO_WORKER).await,
            error => self.refuse(wire, &error.to_string()).await,
        }
    }

    async fn acknowledge(&self, job: WireJob) {
        let by_id = matches!(job.route.target(), Address::One(_));
        if let Err(error) = self.bus.publish(Notification::Taken { job: job.taken(), by_id }).await {
            tracing::debug!(target: LOG, "an ack is lost, the job will be sent again: {error}");
        }
    }

    /// Tells the sender, in the words of its manager. If there is one, it hears it twice.
    async fn refuse(&self, job: WireJob, error: &str) -> InboundOutcome {
        tracing::debug!(target: LOG, job = %job.id, sender = %job.sender.id, target = %job.route.target(), "refused: {error}");
        let failure = Failure {
            target: job.sender,
            error: error.to_owned(),
            correlation: job.id.clone(),
            id: job.id,
            reporter: None,
            payload: Some(job.payload),
        };
        match self.bus.publish(Notification::Error(failure)).await {
            Ok(()) => InboundOutcome::Refused,
            Err(_) => InboundOutcome::Deferred,
        }
    }
}
