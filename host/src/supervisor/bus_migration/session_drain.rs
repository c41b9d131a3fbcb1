//! Drains a session that the host is leaving, and closes it when nothing is left there.

use std::sync::Arc;
use std::time::Duration;

use mshost_bus::{HostBus, QueueDepth};
use mshost_topology::BusUrl;
use tokio_util::sync::CancellationToken;

use super::job_migrator::JobMigrator;
use super::pending_migrations::PendingMigrations;
use crate::supervisor::bus_session::session::BusSession;
use crate::supervisor::bus_session::sessions::BusSessions;

const TARGET: &str = "mshost::supervisor";

/// How long jobs that wait on the old bus are still done there: as long as a drain takes by default.
const EMPTYING_LIMIT: Duration = Duration::from_secs(10);

/// How long workers that bring work in may take to finish what they have begun; each has its own `drain_timeout`, too.
const FINISHING_LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked whether the old bus is empty.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// After how long it is logged that a worker keeps the old bus open.
const SUCCESSOR_WARNING: Duration = Duration::from_secs(30);

/// The drain of one session.
pub(super) struct SessionDrain {
    session: Arc<BusSession>,
    sessions: Arc<BusSessions>,
    pending: Arc<PendingMigrations>,
}

impl SessionDrain {
    pub(super) fn new(session: Arc<BusSession>, sessions: Arc<BusSessions>, pending: Arc<PendingMigrations>) -> Self {
        Self { session, sessions, pending }
    }

    /// Drains a session that the workers of this host are leaving. Cancelling `leave` has those leave that have a successor.
    pub(super) async fn run(self, leave: CancellationToken) {
        let migrator = JobMigrator::new(&self.session, &self.sessions);
        tokio::select! {
            () = self.sessions.shutdown.cancelled() => self.break_off(&leave).await,
            is_left = self.leave(&leave, &migrator) => if is_left {
                self.close().await;
            },
            never = migrator.run(), if self.session.config.url == BusUrl::Embedded => match never {},
        }
    }

    /// Moves what an earlier host has left on an embedded bus without workers to the current one.
    pub(super) async fn run_without_workers(self) {
        let migrator = JobMigrator::new(&self.session, &self.sessions);
        tokio::select! {
            () = self.sessions.shutdown.cancelled() => {}
            () = migrate_rest(&migrator) => self.close().await,
            never = migrator.run() => match never {},
        }
    }

    /// Returns once all workers have left and the bus is empty; with `false` where the session has become current again.
    async fn leave(&self, leave: &CancellationToken, migrator: &JobMigrator<'_>) -> bool {
        let Self { session, sessions, .. } = self;
        tokio::select! {
            () = leave.cancelled() => return false,
            () = self.all_slots_have_moved() => {}
        }
        if !sessions.commit_leaving(session) {
            return false;
        }
        let _ = tokio::time::timeout(FINISHING_LIMIT, session.host_context.shutdown.drain_plugins()).await;
        let _ = tokio::time::timeout(EMPTYING_LIMIT, async {
            while waiting_jobs(&**session.bus()).await > 0 {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        })
        .await;
        let unfinished = waiting_jobs(&**session.bus()).await;
        self.let_workers_leave(leave).await;
        sessions.stop_sends_to(session).await;
        match session.config.url {
            BusUrl::Embedded => migrate_rest(migrator).await,
            BusUrl::Amqp(_) if unfinished > 0 => {
                tracing::warn!(target: TARGET, bus = %session.config.url, unfinished,
                    "jobs wait there on: the broker keeps them for the workers of other hosts");
            }
            BusUrl::Amqp(_) => {}
        }
        true
    }

    async fn all_slots_have_moved(&self) {
        let slots = &self.session.unmoved_slots;
        slots.close();
        if tokio::time::timeout(SUCCESSOR_WARNING, slots.wait()).await.is_err() {
            tracing::warn!(target: TARGET, bus = %self.session.config.url, workers = slots.len(),
                "the old bus is kept open: not every worker has a successor on the new one");
            slots.wait().await;
        }
    }

    async fn let_workers_leave(&self, leave: &CancellationToken) {
        leave.cancel();
        self.session.members.close();
        self.session.members.wait().await;
    }

    async fn close(&self) {
        let Self { session, sessions, pending } = self;
        let forgotten = session.bus().pending_jobs();
        if forgotten > 0 {
            tracing::error!(target: TARGET, bus = %session.config.url, forgotten, "a bug in the host: jobs came to a bus that was left");
        }
        sessions.remove(session);
        session.close().await;
        if let Err(error) = pending.end(&session.config) {
            tracing::error!(target: TARGET, "which journals are being left cannot be written to `host.state`: {error}");
        }
        tracing::info!(target: TARGET, bus = %session.config.url, "the old bus is left and closed");
    }

    /// The host shuts down: workers leave as they do where it has one bus.
    async fn break_off(&self, leave: &CancellationToken) {
        self.let_workers_leave(leave).await;
        let jobs = self.session.bus().pending_jobs();
        if jobs > 0 && self.session.config.journal.is_none() {
            tracing::warn!(target: TARGET, jobs, "not carried over to the new bus: they end with the host");
        }
    }
}

/// Waits until all jobs have been migrated, then migrates the dead letters.
async fn migrate_rest(migrator: &JobMigrator<'_>) {
    migrator.until_empty().await;
    let (jobs, dead_letters) = (migrator.migrated(), migrator.migrate_dead_letters().await);
    tracing::info!(target: TARGET, jobs, dead_letters, "carried over to the new bus");
}

/// How many jobs wait for any worker of their type, or are in the hands of one.
async fn waiting_jobs(bus: &dyn HostBus) -> u64 {
    let of_type = |depth: &QueueDepth| depth.queue.ends_with(":*");
    bus.depths().await.iter().filter(|depth| of_type(depth)).map(|depth| depth.ready + depth.unsettled).sum()
}
