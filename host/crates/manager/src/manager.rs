//! The manager's task: it keeps the registry true. It probes which workers there are, listens, and expires those that no longer
//! answer.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use mshost_bus::{Announcement, BusError, BusState, Event, Failure, HostBus, Notification, Subscription};
use mshost_core::ids::WorkerRef;
use mshost_core::metrics::{MANAGER, Metrics};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::dead_workers::DeadWorkers;
use super::liveness_probes::LivenessProbes;
use super::log_target::LOG;
use super::queue_cleanup::delete_queues;
use super::registry::{Announced, Registry};

/// How many notifications that already wait are read before a worker is declared dead.
const HEAR_FIRST: usize = 4_096;

/// How long after a loss the manager asks again. At once would be wrong: each probe is a notification too, and into a
/// queue that is full it would push out the next one, for ever.
const CATCH_UP: Duration = Duration::from_millis(200);

/// The same for a manager that stands by: the active one has probed by then, and the answers are for all.
const CATCH_UP_STANDING_BY: Duration = Duration::from_secs(2);

/// An answer takes another way through the bus than its probe, and may be heard this much earlier.
const OVERTAKING: Duration = Duration::from_millis(200);

/// How often the manager looks at things when it is never to ask (`keepalive = 0`).
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// The options of `[manager]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerOptions {
    /// How often the active manager asks who is there; `None` asks only at the start and after a time without the bus.
    pub keepalive: Option<Duration>,
    /// How long after a probe a worker that has not answered is taken for dead.
    pub expire_after: Duration,
    /// The most workers that it keeps track of.
    pub max_workers: usize,
}

impl Default for ManagerOptions {
    fn default() -> Self {
        Self { keepalive: Some(Duration::from_secs(10)), expire_after: Duration::from_secs(30), max_workers: 100_000 }
    }
}

/// The manager: what SystemManager is in MicroServices.js.
pub struct Manager {
    id: String,
    options: ManagerOptions,
    bus: Arc<dyn HostBus>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    probes: LivenessProbes,
    dead_workers: DeadWorkers,
    /// It is the one that probes, and deletes queues, for all hosts.
    active: bool,
    /// When to probe out of turn.
    probe_again: Option<Instant>,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("id", &self.id).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Manager {
    /// Makes a manager that does nothing until [`Manager::run`], and the registry that it will keep.
    #[must_use]
    pub fn new(options: ManagerOptions, bus: Arc<dyn HostBus>, metrics: Arc<Metrics>) -> (Self, Arc<Registry>) {
        let registry = Arc::new(Registry::new(options.max_workers, Arc::clone(&metrics)));
        (Self::with_registry(options, bus, Arc::clone(&registry), metrics), registry)
    }

    /// Makes one that takes over the registry of another, which has stopped.
    #[must_use]
    pub fn with_registry(
        options: ManagerOptions,
        bus: Arc<dyn HostBus>,
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
    ) -> Self {
        registry.limit(options.max_workers);
        Self {
            id: new_id(),
            probes: LivenessProbes::new(options.expire_after),
            options,
            bus,
            registry,
            metrics,
            dead_workers: DeadWorkers::default(),
            active: false,
            probe_again: None,
        }
    }

    /// Its id, `SM` and 13 digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Keeps the registry until `stop` is cancelled or the bus is closed.
    ///
    /// # Errors
    /// Where the bus cannot be subscribed to.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), BusError> {
        let mut subscription = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            subscription = self.bus.subscribe() => subscription?,
        };
        self.announce_counters();
        info!(target: LOG, id = self.id, "listening to the bus");
        let (bus, registry) = (Arc::clone(&self.bus), Arc::clone(&self.registry));
        let (dead, to_clean_up) = mpsc::channel(1);
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.serve(&mut *subscription, dead) => {}
            () = delete_queues(&*bus, &registry, to_clean_up) => {}
        }
        self.metrics.manager_active.set(0);
        info!(target: LOG, id = self.id, "stopped");
        Ok(())
    }

    /// Returns when the bus is closed.
    async fn serve(&mut self, subscription: &mut dyn Subscription, dead: mpsc::Sender<WorkerRef>) {
        let (mut state, mut leads) = (self.bus.state(), self.bus.leadership().leads());
        let period = self.options.keepalive.unwrap_or(NEVER);
        let mut keepalive = tokio::time::interval_at(Instant::now() + period, period);
        keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.lead(*leads.borrow_and_update());
        loop {
            let due = self.probes.due();
            tokio::select! {
                event = subscription.next() => match event {
                    Some(event) => self.hear(event),
                    None => return,
                },
                () = at(self.probe_again) => self.probe().await,
                _ = keepalive.tick() => {
                    if self.active {
                        self.probe().await;
                    }
                }
                () = at(due) => {
                    if !self.expire(due, subscription) {
                        return;
                    }
                }
                Ok(room) = dead.reserve(), if self.active && !self.dead_workers.is_empty() => {
                    if let Some(worker) = self.dead_workers.take() {
                        room.send(worker);
                    }
                }
                Ok(()) = leads.changed() => self.lead(*leads.borrow_and_update()),
                changed = state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    match &*state.borrow_and_update() {
                        BusState::Closed => return,
                        BusState::Connected => self.probe_soon("the bus can be used"),
                        BusState::Away { .. } => self.probes.forget(),
                    }
                }
            }
        }
    }

    /// Begins or ends to act for all hosts.
    fn lead(&mut self, active: bool) {
        self.active = active;
        self.metrics.manager_active.set(active.into());
        if active {
            info!(target: LOG, id = self.id, "active: asks who is there, for all hosts on the bus");
            self.dead_workers.forget_old(Instant::now());
            self.probe_again = Some(Instant::now());
        } else {
            info!(target: LOG, id = self.id, "standing by: listens, and takes over from the active manager");
            self.probe_again = Some(Instant::now() + CATCH_UP_STANDING_BY);
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Notification(notification) => self.notified(notification),
            Event::Missed(count) => {
                debug!(target: LOG, count, "notifications were lost");
                self.probe_soon("notifications were lost");
            }
            Event::Reconnected => self.probe_soon("the bus was away"),
        }
    }

    /// Probes again: answers may have been lost, and no worker expires for that.
    fn probe_soon(&mut self, reason: &str) {
        self.probes.forget();
        if self.probe_again.is_none() {
            warn!(target: LOG, "{reason}: asking again who is there");
            let wait = if self.active { CATCH_UP } else { CATCH_UP_STANDING_BY };
            self.probe_again = Some(Instant::now() + wait);
        }
    }

    fn notified(&mut self, notification: Notification) {
        match notification {
            Notification::New { worker, .. } => self.joined(worker),
            Notification::Del(worker) => self.left(&worker),
            Notification::ListRequest => self.log_list(),
            Notification::Error(failure) => self.failed(&failure),
            Notification::GetAll => self.probed(),
            // Pools and jobs of MicroServices.js are its workers' own business.
            Notification::List(_) | Notification::Next(_) | Notification::Taken { .. } => {}
        }
    }

    /// A manager has probed, whichever: all hear the answers.
    fn probed(&mut self) {
        self.probes.add(Instant::now());
        self.probe_again = None;
    }

    fn joined(&self, announcement: Announcement) {
        self.received("worker_registration");
        let WorkerRef { id, worker_type } = announcement.worker.clone();
        if id.worker_type() != worker_type {
            self.metrics.malformed.with_label_values(&["bus", "announcement"]).inc();
            warn!(target: LOG, %id, r#type = %worker_type, "an announcement whose id is of another type is ignored");
            return;
        }
        let host = announcement.host.clone();
        match self.registry.add(announcement, Instant::now()) {
            Announced::New => info!(target: LOG, %id, host, workers = self.registry.len(), "worker joined"),
            Announced::Again => {}
            // Debug: each keepalive would repeat it. `mshost_workers_refused_total` is what to watch.
            Announced::Refused => debug!(target: LOG, %id, limit = self.options.max_workers, "no room for this worker"),
        }
    }

    fn left(&self, worker: &WorkerRef) {
        self.received("worker_deletion");
        if self.registry.remove(&worker.id) {
            info!(target: LOG, id = %worker.id, workers = self.registry.len(), "worker left");
        }
    }

    fn failed(&self, failure: &Failure) {
        self.received("error");
        if failure.error.get(..19).is_some_and(|start| start.eq_ignore_ascii_case("no worker available")) {
            self.metrics.job_errors.with_label_values(&[MANAGER, "no_worker_available"]).inc();
        }
    }

    fn log_list(&self) {
        self.received("workers_list_request");
        let list = self.registry.list();
        info!(target: LOG, workers = list.len(), "list of workers requested");
        for known in list {
            info!(target: LOG, id = %known.worker.id, host = known.host, since = %known.since, "worker");
        }
    }

    /// Probes which workers there are, unless the bus is away.
    async fn probe(&mut self) {
        self.probe_again = None;
        if *self.bus.state().borrow() != BusState::Connected {
            return;
        }
        match self.bus.publish(Notification::GetAll).await {
            Ok(()) => self.metrics.sent.with_label_values(&[MANAGER, "keepalive"]).inc(),
            Err(error) => {
                self.probes.forget();
                warn!(target: LOG, %error, "cannot ask who is there; it will be tried again");
            }
        }
    }

    /// Removes the workers that left the probe that was `due` unanswered. Returns whether the bus is still open.
    fn expire(&mut self, due: Option<Instant>, subscription: &mut dyn Subscription) -> bool {
        let late = due.map_or(Duration::ZERO, |due| due.elapsed());
        for _ in 0..HEAR_FIRST {
            match subscription.next().now_or_never() {
                Some(Some(event)) => self.hear(event),
                Some(None) => return false,
                None => break,
            }
        }
        if late > self.options.expire_after / 2 {
            // This process itself stood still (a debugger, a frozen container): the answers are still on their way.
            self.probe_soon("this process stood still");
            return true;
        }
        let now = Instant::now();
        if !self.active {
            self.dead_workers.forget_old(now);
        }
        let Some(sent) = self.probes.take_due(now) else { return true };
        for known in self.registry.expire(sent.checked_sub(OVERTAKING).unwrap_or(sent)) {
            self.metrics.workers_expired.inc();
            warn!(target: LOG, id = %known.worker.id, host = known.host, "worker no longer answers; it is taken for dead");
            self.dead_workers.add(known.worker, now);
        }
        true
    }

    /// A counter that appears with its first event hides that event from `rate()`.
    fn announce_counters(&self) {
        for kind in ["error", "worker_registration", "worker_deletion", "worker_list_update", "workers_list_request"] {
            self.metrics.received.with_label_values(&[MANAGER, kind]);
        }
        self.metrics.sent.with_label_values(&[MANAGER, "keepalive"]);
        self.metrics.job_errors.with_label_values(&[MANAGER, "no_worker_available"]);
    }

    fn received(&self, kind: &str) {
        self.metrics.received.with_label_values(&[MANAGER, kind]).inc();
    }
}

/// Waits until then; for ever where there is no then.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn new_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("SM{:013}", now.as_millis())
}

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;
