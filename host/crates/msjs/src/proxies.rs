//! Proxies: for each worker of MicroServices.js one that consumes what workers of mshost send to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mshost_bus::{
    BusError, Consumer, ConsumerOptions, Death, DeathReason, Delivery, EXPIRED, Failure, HostBus, Notification, WireJob,
};
use mshost_core::ids::{WorkerId, WorkerRef, WorkerType};
use mshost_manager::Registry;
use tokio_util::sync::CancellationToken;

use super::counters::{MsjsCounters, OutboundOutcome};
use super::pending_acks::PendingAcks;
use super::wording::LOG;

/// How often MicroServices.js publishes a job, and how long it waits for the ack each time (shared with its workers: "Timing").
const SENDS: u32 = 5;
const RESEND: Duration = Duration::from_secs(2);

/// The most jobs that a proxy holds until they are taken.
const HELD: u16 = 256;
/// Wait before a proxy tries to join again.
const JOIN_AGAIN: Duration = Duration::from_secs(5);
/// Many changes of the registry are looked at this often, not each time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Keeps a proxy on the bus for each worker of MicroServices.js.
pub(super) struct MsjsProxies<'a> {
    bus: &'a Arc<dyn HostBus>,
    registry: &'a Registry,
    counters: &'a MsjsCounters,
    acks: &'a PendingAcks,
    /// The most workers of MicroServices.js that there are proxies for.
    max_proxies: usize,
}

impl<'a> MsjsProxies<'a> {
    pub(super) fn new(
        bus: &'a Arc<dyn HostBus>,
        registry: &'a Registry,
        counters: &'a MsjsCounters,
        acks: &'a PendingAcks,
        max_proxies: usize,
    ) -> Self {
        Self { bus, registry, counters, acks, max_proxies }
    }

    /// Goes on until dropped, which requeues whatever is held.
    pub(super) async fn run(&self) {
        let mut changes = self.registry.changes();
        let mut proxies: HashMap<WorkerId, CancellationToken> = HashMap::new();
        let mut running = FuturesUnordered::new();
        let mut reported = ReportedProblems::default();
        loop {
            changes.mark_unchanged();
            let wanted = self.wanted(&proxies, &mut reported);
            proxies.retain(|id, stop| {
                let keep = wanted.contains_key(id);
                if !keep {
                    stop.cancel();
                }
                keep
            });
            for (id, worker) in wanted {
                proxies.entry(id).or_insert_with(|| {
                    let stop = CancellationToken::new();
                    running.push(self.run_proxy(worker, stop.clone()));
                    stop
                });
            }
            self.counters.proxies(proxies.len());
            let changed = async {
                tokio::time::sleep(LOOK_AGAIN).await;
                changes.changed().await
            };
            tokio::pin!(changed);
            loop {
                tokio::select! {
                    // Never an error: the registry outlives this.
                    _ = &mut changed => break,
                    Some(()) = running.next(), if !running.is_empty() => {}
                }
            }
        }
    }

    /// The workers of MicroServices.js that are to have proxies; those that have one keep it. A type that mshost serves, too, has
    /// none.
    pub(super) fn wanted<T>(
        &self,
        proxies: &HashMap<WorkerId, T>,
        reported: &mut ReportedProblems,
    ) -> HashMap<WorkerId, WorkerRef> {
        let (mut wanted, mut mixed, mut left_out) = (HashMap::new(), HashSet::new(), 0_usize);
        let (with, without): (Vec<_>, Vec<_>) =
            self.registry.msjs_workers().into_iter().partition(|worker| proxies.contains_key(&worker.id));
        for worker in with.into_iter().chain(without) {
            if self.registry.counts_of(&worker.worker_type).is_mixed() {
                mixed.insert(worker.worker_type);
            } else if wanted.len() < self.max_proxies {
                wanted.insert(worker.id.clone(), worker);
            } else {
                left_out += 1;
            }
        }
        self.counters.mixed_types(mixed.len());
        self.counters.without_proxy(left_out);
        reported.report(mixed, left_out, self.max_proxies);
        wanted
    }

    /// Consumes in the name of one worker of MicroServices.js until told to stop.
    async fn run_proxy(&self, worker: WorkerRef, stop: CancellationToken) {
        let work = async {
            loop {
                match self.bus.join(&worker, ConsumerOptions::new(HELD)).await {
                    Ok(consumer) => self.serve(&worker, consumer).await,
                    Err(BusError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(target: LOG, worker = %worker.id, "nothing can be sent to it: {error}")
                    }
                }
                tokio::time::sleep(JOIN_AGAIN).await;
            }
        };
        tracing::debug!(target: LOG, worker = %worker.id, "a proxy consumes for a worker of MicroServices.js");
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    async fn serve(&self, worker: &WorkerRef, mut consumer: Box<dyn Consumer>) {
        let mut held = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some((id, settled)) = held.next(), if !held.is_empty() => {
                    if let Err(error) = settled {
                        tracing::warn!(target: LOG, job = %id, "could not settle the job, it will come again: {error}");
                    }
                }
                delivery = consumer.next(), if held.len() < usize::from(HELD) => {
                    let Some(delivery) = delivery else { return };
                    let id = delivery.job.id.clone();
                    held.push(async move { (id, self.pass_on(worker, delivery).await) });
                }
            }
        }
    }

    /// Publishes a job until it is taken; reports it where no worker takes it.
    async fn pass_on(&self, worker: &WorkerRef, delivery: Delivery) -> Result<(), BusError> {
        let job = &delivery.job;
        let wire = WireJob {
            id: job.id.clone(),
            route: job.route.clone(),
            sender: job.sender.clone(),
            payload: job.payload.clone(),
        };
        let ack = self.acks.expect(&wire);
        for send in 0..SENDS {
            let left = job.deadline.map(|deadline| deadline.duration_since(SystemTime::now()).unwrap_or_default());
            if left.is_some_and(|left| left.is_zero()) {
                return self.expire(worker, delivery).await;
            }
            if send > 0 {
                self.counters.outbound(OutboundOutcome::Resent);
            }
            if let Err(error) = self.bus.publish(Notification::Next(wire.clone())).await {
                tracing::debug!(target: LOG, job = %job.id, "not said: {error}");
            }
            let wait = left.map_or(RESEND, |left| left.min(RESEND));
            if tokio::time::timeout(wait, ack.taken()).await.is_ok() {
                self.counters.outbound(OutboundOutcome::Taken);
                self.counters.acked(&job.sender.worker_type);
                return delivery.ack().await;
            }
            if wait < RESEND {
                return self.expire(worker, delivery).await;
            }
        }
        self.counters.outbound(OutboundOutcome::Unanswered);
        let error = format!(
            "no worker available for {}: the original's workers did not take the job within {}",
            job.route.target(),
            humantime::format_duration(RESEND * SENDS)
        );
        self.give_up(worker, delivery, DeathReason::NoWorker, &error).await
    }

    async fn expire(&self, worker: &WorkerRef, delivery: Delivery) -> Result<(), BusError> {
        self.counters.outbound(OutboundOutcome::Expired);
        self.give_up(worker, delivery, DeathReason::Expired, EXPIRED).await
    }

    /// Reports a job to those that wait for it, then dead-letters it.
    async fn give_up(
        &self,
        worker: &WorkerRef,
        delivery: Delivery,
        reason: DeathReason,
        error: &str,
    ) -> Result<(), BusError> {
        let job = &delivery.job;
        tracing::warn!(target: LOG, worker = %worker.id, job = %job.id, "job failed for good: {error}");
        // Reported first: if the bus cannot take the report, the job comes again instead of failing in silence.
        for report in Failure::reports(job, error, None) {
            self.bus.publish(report).await?;
        }
        delivery.dead_letter(Death::now(reason, error, Some(worker.clone()))).await
    }
}

/// The problems that are in the log, and are not to be logged again.
#[derive(Default)]
pub(super) struct ReportedProblems {
    mixed: HashSet<WorkerType>,
    left_out: bool,
}

impl ReportedProblems {
    fn report(&mut self, mixed: HashSet<WorkerType>, left_out: usize, max: usize) {
        for kind in mixed.difference(&self.mixed) {
            tracing::error!(
                target: LOG,
                r#type = %kind,
                "the type {kind} is served both by mshost and by workers of the original, and jobs go to whichever kind \
                 their sender is of; give one of the two another type"
            );
        }
        for kind in self.mixed.difference(&mixed) {
            tracing::info!(target: LOG, r#type = %kind, "the type {kind} is served by one kind of workers again");
        }
        self.mixed = mixed;
        if left_out > 0 && !self.left_out {
            tracing::error!(
                target: LOG,
                "the original has {left_out} workers more than the {max} that mshost can send to (`manager.max_proxies`); \
                 those can still send to mshost"
            );
        }
        self.left_out = left_out > 0;
    }
}
