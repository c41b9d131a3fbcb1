//! Carries what waits on an embedded bus that workers leave to the bus that they move to.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mshost_bus::{
    Bus, BusError, ConsumerOptions, DeadLetter, Death, DeathReason, Delivery, EXPIRED, Failure, Job, SendError,
};
use mshost_core::ids::{Address, WorkerRef, WorkerType};
use mshost_worker::fresh_id;
use tokio::time::Instant;

use super::side::Side;
use super::sides::Sides;

const TARGET: &str = "mshost::supervisor";

/// How many jobs of a type are on their way at a time.
const AT_A_TIME: u16 = 64;

/// How often it is looked whether there is something to carry, and how long a type is waited for that has no more.
const LOOK: Duration = Duration::from_millis(100);

/// How long a job is offered whose type the topology does not name.
const OFFERED: Duration = Duration::from_secs(10);

/// The wait before something is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Carries from one side to wherever workers live.
pub(super) struct Porter<'a> {
    from: &'a dyn Bus,
    sides: &'a Sides,
    carried: AtomicU64,
    /// It has been said that something cannot be carried.
    said: AtomicBool,
}

impl<'a> Porter<'a> {
    pub(super) fn new(from: &'a Side, sides: &'a Sides) -> Self {
        Self { from: &**from.bus(), sides, carried: AtomicU64::new(0), said: AtomicBool::new(false) }
    }

    /// How many jobs it has carried.
    pub(super) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Carries what waits for types that nobody serves there any more, as long as it is polled. Dropping it gives back what it
    /// has in hand.
    pub(super) async fn carry(&self) -> Infallible {
        let (mut kinds, mut passes) = (BTreeSet::new(), FuturesUnordered::new());
        loop {
            for kind in self.orphans().await {
                if kinds.insert(kind.clone()) {
                    passes.push(async move {
                        self.pass(&kind).await;
                        kind
                    });
                }
            }
            tokio::select! {
                Some(kind) = passes.next(), if !passes.is_empty() => drop(kinds.remove(&kind)),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Returns once the bus has no more jobs, those included that wait for later. [`Porter::carry`] has to be polled beside it.
    pub(super) async fn emptied(&self) {
        while self.from.holds() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The types that jobs wait for, and that nobody serves there.
    async fn orphans(&self) -> Vec<WorkerType> {
        let depths = self.from.depths().await;
        let waiting = depths.iter().filter(|depth| depth.ready > 0 && depth.consumers == 0);
        waiting.filter_map(|depth| WorkerType::new(depth.queue.strip_suffix(":*")?).ok()).collect()
    }

    /// Takes what waits for a type as a worker of it would, until nothing comes.
    async fn pass(&self, kind: &WorkerType) {
        let Ok(id) = fresh_id(kind) else { return };
        let me = WorkerRef { id, worker_type: kind.clone() };
        let Ok(mut consumer) = self.from.join(&me, ConsumerOptions::new(AT_A_TIME)).await else { return };
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                next = tokio::time::timeout(LOOK, consumer.next()), if under_way.len() < usize::from(AT_A_TIME) => match next {
                    Ok(Some(delivery)) => under_way.push(self.carry_one(delivery)),
                    Err(_) if !under_way.is_empty() => {}
                    Ok(None) | Err(_) => break,
                },
            }
        }
        // Empty, or the bus is closed.
        drop(under_way);
    }

    /// Sends a job on. It is in hand until another bus has it: handed back it would count as delivered once more each time.
    async fn carry_one(&self, delivery: Delivery) {
        let mut job = delivery.job.clone();
        if delivery.redelivered {
            // The new bus knows nothing of it, and a handler must see that the job may have been done before.
            job.attempt = job.attempt.saturating_add(1);
        }
        let since = Instant::now();
        while let Err(error) = self.try_carry(&job, since).await {
            if !self.said.swap(true, Ordering::Relaxed) {
                tracing::error!(target: TARGET, "the old bus stays open: not everything can be carried over: {error}");
            }
            tokio::time::sleep(AGAIN).await;
        }
        match delivery.ack().await {
            Ok(()) => {
                self.carried.fetch_add(1, Ordering::Relaxed);
                self.sides.metrics().bus_carried.inc();
            }
            Err(error) => tracing::warn!(target: TARGET, "a job that was carried over may be done twice: {error}"),
        }
    }

    /// Sends it, or gives it up where nobody will do it.
    async fn try_carry(&self, job: &Job, since: Instant) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let to = self.sides.current();
        if job.is_expired(SystemTime::now()) {
            return Ok(give_up(&**to.bus(), job, DeathReason::Expired, EXPIRED).await?);
        }
        match to.bus().send(job.clone()).await {
            Ok(()) => Ok(()),
            Err(error @ SendError::Unavailable(_)) => Err(error.into()),
            Err(error @ SendError::NoWorker(_)) if self.may_come(job, since) => Err(error.into()),
            Err(error @ SendError::NoWorker(_)) => {
                Ok(give_up(&**to.bus(), job, DeathReason::NoWorker, &error.to_string()).await?)
            }
            Err(error) => Ok(give_up(&**to.bus(), job, DeathReason::Failed, &error.to_string()).await?),
        }
    }

    /// Whether a worker for it may come to the new bus yet.
    fn may_come(&self, job: &Job, since: Instant) -> bool {
        let is_planned = matches!(job.route.target(), Address::Any(kind) if self.sides.serves(kind));
        is_planned || since.elapsed() < OFFERED
    }

    /// Carries the dead letters over; those that the new bus does not take stay until it does.
    pub(super) async fn carry_dead(&self) -> usize {
        let mut kept = BTreeSet::new();
        loop {
            let Ok(letters) = self.from.dead_letters(usize::MAX).await else { return kept.len() };
            let (to, mut refused) = (self.sides.current(), None);
            for letter in letters {
                if kept.contains(&letter.id) {
                    continue;
                }
                let id = letter.id.clone();
                match to.bus().keep_dead(letter).await {
                    Ok(()) => drop(kept.insert(id)),
                    Err(error) => refused = Some(error),
                }
            }
            let Some(error) = refused else { break };
            if !self.said.swap(true, Ordering::Relaxed) {
                tracing::error!(target: TARGET, "the old bus stays open: not every dead letter can be carried over: {error}");
            }
            tokio::time::sleep(AGAIN * 5).await;
        }
        // All of them are elsewhere now; a journal must not bring them back.
        let _ = self.from.purge_dead().await;
        kept.len()
    }
}

/// Says to those who wait for a job that nobody will do it, and keeps it as a dead letter of the new bus.
async fn give_up(to: &dyn Bus, job: &Job, reason: DeathReason, error: &str) -> Result<(), BusError> {
    let death = Death::now(reason, error, None);
    tracing::warn!(target: TARGET, job = %job.id, "job given up while it was carried over: {error}");
    for report in Failure::reports(job, &death.error, None) {
        to.publish(report).await?;
    }
    to.keep_dead(DeadLetter { id: job.id.to_string(), job: Some(job.clone()), raw: None, death }).await
}
