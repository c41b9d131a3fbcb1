//! Moves the jobs and dead letters of an embedded bus that workers are leaving to the current bus.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mshost_bus::{
    BusError, ConsumerOptions, DeadLetter, Death, DeathReason, Delivery, EXPIRED, Failure, HostBus, Job, SendError,
};
use mshost_core::ids::{Address, WorkerRef, WorkerType};
use mshost_worker::new_worker_id;
use tokio::time::Instant;

use crate::supervisor::bus_session::session::BusSession;
use crate::supervisor::bus_session::sessions::BusSessions;

const TARGET: &str = "mshost::supervisor";

/// The most jobs of a type that are being moved at a time.
const MAX_IN_HAND: u16 = 64;

/// How often it is looked whether jobs wait, and how long a type is consumed that has none.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a job is tried whose type the topology does not name, before it becomes a dead letter.
const UNPLANNED_LIMIT: Duration = Duration::from_secs(10);

/// The wait before a job is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Moves what waits on the bus of one session to the current session.
pub(super) struct JobMigrator<'a> {
    from: &'a dyn HostBus,
    sessions: &'a BusSessions,
    migrated: AtomicU64,
    /// It has been logged that something cannot be moved.
    logged: AtomicBool,
}

impl<'a> JobMigrator<'a> {
    pub(super) fn new(from: &'a BusSession, sessions: &'a BusSessions) -> Self {
        Self { from: &**from.bus(), sessions, migrated: AtomicU64::new(0), logged: AtomicBool::new(false) }
    }

    /// How many jobs it has moved.
    pub(super) fn migrated(&self) -> u64 {
        self.migrated.load(Ordering::Relaxed)
    }

    /// Moves jobs of types that no worker consumes there any more, as long as it is polled. Dropping it requeues the jobs that it
    /// has in hand.
    pub(super) async fn run(&self) -> Infallible {
        let (mut types, mut moving) = (BTreeSet::new(), FuturesUnordered::new());
        loop {
            for worker_type in self.unattended_types().await {
                if types.insert(worker_type.clone()) {
                    moving.push(async move {
                        self.migrate_type(&worker_type).await;
                        worker_type
                    });
                }
            }
            tokio::select! {
                Some(worker_type) = moving.next(), if !moving.is_empty() => drop(types.remove(&worker_type)),
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Returns once the bus has no more jobs, delayed ones included. [`JobMigrator::run`] has to be polled beside it.
    pub(super) async fn until_empty(&self) {
        while self.from.pending_jobs() > 0 {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The types that jobs wait for, and that no worker consumes there.
    async fn unattended_types(&self) -> Vec<WorkerType> {
        let depths = self.from.depths().await;
        let waiting = depths.iter().filter(|depth| depth.ready > 0 && depth.consumers == 0);
        waiting.filter_map(|depth| WorkerType::new(depth.queue.strip_suffix(":*")?).ok()).collect()
    }

    /// Consumes what waits for a type as a worker of it would, until nothing comes.
    async fn migrate_type(&self, worker_type: &WorkerType) {
        let Ok(id) = new_worker_id(worker_type) else { return };
        let consumer = WorkerRef { id, worker_type: worker_type.clone() };
        let Ok(mut consumer) = self.from.join(&consumer, ConsumerOptions::new(MAX_IN_HAND)).await else { return };
        let mut in_hand = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = in_hand.next(), if !in_hand.is_empty() => {}
                next = tokio::time::timeout(POLL_INTERVAL, consumer.next()), if in_hand.len() < usize::from(MAX_IN_HAND) => match next {
                    Ok(Some(delivery)) => in_hand.push(self.migrate_job(delivery)),
                    Err(_) if !in_hand.is_empty() => {}
                    Ok(None) | Err(_) => break,
                },
            }
        }
        // Empty, or the bus is closed.
        drop(in_hand);
    }

    /// Sends a job on. It stays unacknowledged until another bus has it: requeued it would count as delivered once more each time.
    async fn migrate_job(&self, delivery: Delivery) {
        let mut job = delivery.job.clone();
        if delivery.redelivered {
            // The new bus knows nothing of it, and a handler must see that the job may have been done before.
            job.attempt = job.attempt.saturating_add(1);
        }
        let since = Instant::now();
        while let Err(error) = self.try_migrate(&job, since).await {
            if !self.logged.swap(true, Ordering::Relaxed) {
                tracing::error!(target: TARGET, "the old bus stays open: not everything can be carried over: {error}");
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        match delivery.ack().await {
            Ok(()) => {
                self.migrated.fetch_add(1, Ordering::Relaxed);
                self.sessions.metrics().bus_carried.inc();
            }
            Err(error) => tracing::warn!(target: TARGET, "a job that was carried over may be done twice: {error}"),
        }
    }

    /// Sends a job, or makes it a dead letter where no worker will do it.
    async fn try_migrate(&self, job: &Job, since: Instant) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let to = self.sessions.current();
        if job.is_expired(SystemTime::now()) {
            return Ok(dead_letter(&**to.bus(), job, DeathReason::Expired, EXPIRED).await?);
        }
        match to.bus().send(job.clone()).await {
            Ok(()) => Ok(()),
            Err(error @ SendError::Unavailable(_)) => Err(error.into()),
            Err(error @ SendError::NoWorker(_)) if self.may_have_worker(job, since) => Err(error.into()),
            Err(error @ SendError::NoWorker(_)) => {
                Ok(dead_letter(&**to.bus(), job, DeathReason::NoWorker, &error.to_string()).await?)
            }
            Err(error) => Ok(dead_letter(&**to.bus(), job, DeathReason::Failed, &error.to_string()).await?),
        }
    }

    /// Whether a worker for it may come to the new bus yet.
    fn may_have_worker(&self, job: &Job, since: Instant) -> bool {
        let is_planned = matches!(job.route.target(), Address::Any(kind) if self.sessions.is_planned(kind));
        is_planned || since.elapsed() < UNPLANNED_LIMIT
    }

    /// Moves the dead letters, and returns how many; those that the new bus does not take stay until it does.
    pub(super) async fn migrate_dead_letters(&self) -> usize {
        let mut kept = BTreeSet::new();
        loop {
            let Ok(letters) = self.from.dead_letters().list(usize::MAX).await else { return kept.len() };
            let (to, mut refused) = (self.sessions.current(), None);
            for letter in letters {
                if kept.contains(&letter.id) {
                    continue;
                }
                let id = letter.id.clone();
                match to.bus().dead_letters().keep(letter).await {
                    Ok(()) => drop(kept.insert(id)),
                    Err(error) => refused = Some(error),
                }
            }
            let Some(error) = refused else { break };
            if !self.logged.swap(true, Ordering::Relaxed) {
                tracing::error!(target: TARGET, "the old bus stays open: not every dead letter can be carried over: {error}");
            }
            tokio::time::sleep(RETRY_INTERVAL * 5).await;
        }
        // All of them are elsewhere now; a journal must not bring them back.
        let _ = self.from.dead_letters().purge().await;
        kept.len()
    }
}

/// Reports to the senders that wait for a job that no worker will do it, and keeps it as a dead letter of the new bus.
async fn dead_letter(to: &dyn HostBus, job: &Job, reason: DeathReason, error: &str) -> Result<(), BusError> {
    let death = Death::now(reason, error, None);
    tracing::warn!(target: TARGET, job = %job.id, "job given up while it was carried over: {error}");
    for report in Failure::reports(job, &death.error, None) {
        to.publish(report).await?;
    }
    to.dead_letters().keep(DeadLetter { id: job.id.to_string(), job: Some(job.clone()), raw: None, death }).await
}
