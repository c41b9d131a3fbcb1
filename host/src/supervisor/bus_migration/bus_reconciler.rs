//! Reconciles the bus: opens the one that the topology wants, and has everything migrate there once it can be used.

use std::sync::Arc;
use std::time::Duration;

use mshost_bus::BusState;
use mshost_topology::Topology;
use tokio_util::task::TaskTracker;

use super::pending_migrations::PendingMigrations;
use super::session_drain::SessionDrain;
use crate::supervisor::bus_session::session::BusSession;
use crate::supervisor::bus_session::sessions::BusSessions;

const TARGET: &str = "mshost::supervisor";

/// How long a reload waits for the new bus. After that everything else is reloaded, and the migration follows by itself.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// After how long a bus that could not be opened is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The most buses that may be left at a time: each keeps workers and connections.
const MAX_LEAVING: usize = 4;

/// Makes the bus that workers are on the one that the topology names.
pub(crate) struct BusReconciler {
    sessions: Arc<BusSessions>,
    pending: Arc<PendingMigrations>,
    target: TargetBus,
    /// Where sessions are drained.
    tasks: TaskTracker,
}

/// A bus that the topology names and that workers are not on.
enum TargetBus {
    None,
    /// It is open and cannot be used yet.
    Connecting(Arc<BusSession>),
    /// It could not even be opened: a journal may be in use still, or its folder not writable yet.
    NotOpened,
}

impl BusReconciler {
    /// A reconciler of these sessions, for a host with this topology.
    pub(crate) fn new(topology: &Topology, sessions: Arc<BusSessions>, tasks: TaskTracker) -> Self {
        let pending = Arc::new(PendingMigrations::new(&topology.host.state));
        Self { sessions, pending, target: TargetBus::None, tasks }
    }

    /// Makes the bus of a topology the current one.
    ///
    /// # Errors
    /// Why workers stay where they are. A bus that cannot be used yet goes on being tried: see
    /// [`BusReconciler::until_worth_a_try`].
    pub(crate) async fn reconcile(&mut self, topology: &Topology) -> Result<(), String> {
        let current = self.sessions.current();
        if topology.bus == current.config {
            self.drop_target().await;
            return Ok(());
        }
        let migrated = self.migrate_to(topology).await;
        let outcome = if migrated.is_ok() { "moved" } else { "failed" };
        self.sessions.metrics().bus_moves.with_label_values(&[outcome]).inc();
        let old = migrated.map_err(|why| format!("{why}; everything stays on {}", current.config.url))?;
        let to = self.sessions.current();
        tracing::info!(target: TARGET, from = %old.config.url, to = %to.config.url, "moving to another bus");
        // There was no time yet for a way back.
        let leave = old.leave_signal().unwrap_or_default();
        self.tasks.spawn(self.drain_of(old).run(leave));
        Ok(())
    }

    /// Returns the session that is left.
    async fn migrate_to(&mut self, topology: &Topology) -> Result<Arc<BusSession>, String> {
        let known = match &self.target {
            TargetBus::Connecting(session) if session.config == topology.bus => Some(Arc::clone(session)),
            _ => None,
        };
        let (session, limit) = match known {
            Some(session) => (session, Duration::ZERO),
            None => {
                self.drop_target().await;
                if let Some(old) = self.switch_back(topology) {
                    return Ok(old);
                }
                self.target = TargetBus::NotOpened;
                (self.open(topology)?, CONNECT_LIMIT)
            }
        };
        self.target = TargetBus::Connecting(Arc::clone(&session));
        let mut state = session.bus().state();
        let connected = state.wait_for(|state| *state == BusState::Connected);
        if !matches!(tokio::time::timeout(limit, connected).await, Ok(Ok(_))) {
            let why = match &*session.bus().state().borrow() {
                BusState::Away { error } => format!(": {error}"),
                _ => String::new(),
            };
            return Err(format!("the new bus {} cannot be used yet{why}; it is tried on", session.config.url));
        }
        // Before anything goes to the new bus: the next host must find what is still on the old one.
        if let Err(error) = self.pending.begin(&self.sessions.current().config) {
            self.drop_target().await;
            self.target = TargetBus::NotOpened;
            return Err(format!("that its journal is being left cannot be written to `host.state`: {error}"));
        }
        self.target = TargetBus::None;
        Ok(self.sessions.switch_to(session).await)
    }

    /// Returns the session that is left, where workers can go back to one that they have not all left.
    fn switch_back(&self, topology: &Topology) -> Option<Arc<BusSession>> {
        let old = self.sessions.switch_back_to(&topology.bus)?;
        if let Err(error) = self.pending.begin(&old.config).and_then(|()| self.pending.end(&topology.bus)) {
            tracing::error!(target: TARGET, "which journals are being left cannot be written to `host.state`: {error}");
        }
        Some(old)
    }

    /// Resumes the migrations of an earlier host: moves what it has left on buses that it was leaving when it was stopped.
    pub(crate) fn resume(&self, topology: &Topology) {
        let journals = self.pending.all().unwrap_or_else(|error| {
            tracing::error!(target: TARGET, "which journals were being left cannot be read in `host.state`: {error}");
            Vec::new()
        });
        for journal in journals {
            let opened = journal.reopened(topology).and_then(|reopened| match reopened {
                Some(old) => self.sessions.open_another(&old).map(Some).map_err(|error| error.to_string()),
                None => Ok(None),
            });
            let folder = journal.folder().display();
            match opened {
                Ok(Some(session)) => {
                    tracing::info!(target: TARGET, %folder, "jobs of a bus that was being left: carried over now");
                    self.sessions.add_abandoned(Arc::clone(&session));
                    self.tasks.spawn(self.drain_of(session).run_without_workers());
                }
                Ok(None) => {}
                Err(why) => tracing::error!(target: TARGET, %folder,
                    "jobs of a bus that was being left stay in its journal until another start: {why}"),
            }
        }
        // The current bus is not being left any more.
        if let Err(error) = self.pending.end(&topology.bus) {
            tracing::error!(target: TARGET, "which journals are being left cannot be written to `host.state`: {error}");
        }
    }

    /// Returns once another [`BusReconciler::reconcile`] is worth a try; never where nothing is left to do. Cancel safe.
    pub(crate) async fn until_worth_a_try(&self) {
        match &self.target {
            TargetBus::None => std::future::pending().await,
            TargetBus::NotOpened => tokio::time::sleep(RETRY_INTERVAL).await,
            TargetBus::Connecting(session) => {
                let mut state = session.bus().state();
                if state.wait_for(|state| *state == BusState::Connected).await.is_err() {
                    std::future::pending().await
                }
            }
        }
    }

    fn open(&self, topology: &Topology) -> Result<Arc<BusSession>, String> {
        let leaving = self.sessions.leaving();
        if let Some(session) = leaving.iter().find(|session| !session.config.can_move_to(&topology.bus)) {
            return Err(format!("{} is still being left: see `bus.leaving` in /api/topology", session.config.url));
        }
        if leaving.len() >= MAX_LEAVING {
            return Err(format!("{MAX_LEAVING} buses are being left already: see `bus.leaving` in /api/topology"));
        }
        self.sessions.open_another(topology).map_err(|error| format!("the new bus cannot be used: {error}"))
    }

    fn drain_of(&self, session: Arc<BusSession>) -> SessionDrain {
        SessionDrain::new(session, Arc::clone(&self.sessions), Arc::clone(&self.pending))
    }

    /// Closes a bus that the topology does not name any more.
    async fn drop_target(&mut self) {
        if let TargetBus::Connecting(session) = std::mem::replace(&mut self.target, TargetBus::None) {
            session.close().await;
        }
    }

    /// The folders of the journals that are noted as being left.
    #[cfg(test)]
    pub(super) fn noted_journals(&self) -> std::io::Result<Vec<std::path::PathBuf>> {
        Ok(self.pending.all()?.iter().map(|journal| journal.folder().to_owned()).collect())
    }
}
