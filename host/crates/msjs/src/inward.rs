//! From the original: the jobs of its workers that are for ours.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mshost_bus::codec::WireJob;
use mshost_bus::{Failure, HostBus, Job, MsjsEvent, MsjsSubscription, Notification, SendError};
use mshost_core::ids::Address;
use mshost_manager::Registry;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::acks::Acks;
use super::memory::{Memory, Stage, native_id};
use super::tally::{In, Tally};
use super::{LOG, NO_WORKER};

/// How long nobody is told that there is no worker: at first the manager does not know yet who is there, and the original
/// sends a job again after 2 s.
const GRACE: Duration = Duration::from_secs(2);

/// A job of the original's is no longer wanted after this time, as by default a job of ours.
const DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Whose a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// One of our workers' to do.
    Ours,
    /// The original's to do, or not known yet.
    Theirs,
    /// There is nobody to do it.
    Nobodys,
}

/// Hears the original's workers.
pub(super) struct Inward<'a> {
    bus: &'a Arc<dyn HostBus>,
    registry: &'a Registry,
    tally: &'a Tally,
    acks: &'a Acks,
    memory: Mutex<Memory>,
    /// Since when they are heard.
    since: Mutex<Instant>,
}

impl<'a> Inward<'a> {
    pub(super) fn new(bus: &'a Arc<dyn HostBus>, registry: &'a Registry, tally: &'a Tally, acks: &'a Acks) -> Self {
        let (memory, since) = (Mutex::new(Memory::new()), Mutex::new(Instant::now()));
        Self { bus, registry, tally, acks, memory, since }
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
                        self.tally.inward(outcome);
                        receipt.give();
                    }),
                    None => return,
                },
            }
        }
    }

    async fn consider(&self, job: WireJob) -> In {
        match self.whose(&job) {
            Whose::Ours => self.take(job).await,
            Whose::Theirs => In::Left,
            Whose::Nobodys => self.refuse(job, NO_WORKER).await,
        }
    }

    fn whose(&self, job: &WireJob) -> Whose {
        match job.route.target() {
            Address::One(id) => match self.registry.get(id) {
                Some(worker) if worker.host.is_some() => return Whose::Ours,
                Some(_) => return Whose::Theirs,
                None => {}
            },
            Address::Any(kind) => {
                let served = self.registry.served(kind);
                // Of a type that both serve, the original's pool takes what the original sends.
                if served.original > 0 {
                    return Whose::Theirs;
                }
                if served.native > 0 {
                    return Whose::Ours;
                }
            }
        }
        let is_native = |worker| self.registry.get(worker).is_some_and(|known| known.host.is_some());
        // Our own is settled by whoever says it.
        let own = self.acks.has(&job.id) || is_native(&job.sender.id);
        let early = self.since.lock().elapsed() < GRACE;
        if own || early { Whose::Theirs } else { Whose::Nobodys }
    }

    /// Puts a job on our bus, once, and only then says that it is taken.
    async fn take(&self, wire: WireJob) -> In {
        let id = native_id(&wire);
        let known = self.memory.lock().begin(&id);
        match known {
            Some(Stage::Sending) => return In::Duplicate,
            Some(Stage::Taken) => {
                // The first ack may have been lost.
                self.acknowledge(wire).await;
                return In::Duplicate;
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
                self.memory.lock().finish(id);
                self.acknowledge(wire).await;
                return In::Taken;
            }
            Err(error) => error,
        };
        self.memory.lock().forget(&id);
        match error {
            SendError::Unavailable(reason) => {
                tracing::debug!(target: LOG, job = %id, "not taken now: {reason}");
                In::Deferred
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
    async fn refuse(&self, job: WireJob, error: &str) -> In {
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
            Ok(()) => In::Refused,
            Err(_) => In::Deferred,
        }
    }
}
