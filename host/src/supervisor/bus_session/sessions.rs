//! All bus sessions of the host: the current one, and while workers migrate those that are being left.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use mshost_bus::BusError;
use mshost_core::ids::WorkerType;
use mshost_core::metrics::Metrics;
use mshost_topology::{BusConfig, Topology};
use mshost_worker::StartingTypes;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use super::session::BusSession;

/// The bus sessions of the host.
pub(crate) struct BusSessions {
    sessions: RwLock<SessionSet>,
    /// Held while links are made or cut.
    linking: tokio::sync::Mutex<()>,
    /// The types of which a worker is being started, on whichever session.
    expected: StartingTypes,
    /// The types that the topology has workers of.
    planned_types: Mutex<BTreeSet<WorkerType>>,
    /// Cancelled when the host shuts down: ends every migration at once.
    pub(crate) shutdown: CancellationToken,
    metrics: Arc<Metrics>,
}

struct SessionSet {
    /// Where workers are, or migrate to.
    current: Arc<BusSession>,
    /// Those that are being left, the latest last.
    leaving: Vec<LeavingSession>,
}

struct LeavingSession {
    session: Arc<BusSession>,
    /// All of its slots have moved, and its workers leave: there is no way back to it.
    committed: bool,
}

impl BusSessions {
    /// Opens the first session.
    ///
    /// # Errors
    /// Where its bus can never be used.
    pub(crate) fn open(topology: &Topology, metrics: &Arc<Metrics>) -> Result<Arc<Self>, BusError> {
        let expected = StartingTypes::default();
        let current = Arc::new(BusSession::open(topology, expected.clone(), metrics)?);
        let types = topology.workers.iter().map(|worker| worker.worker_type.clone()).collect();
        Ok(Arc::new(Self {
            sessions: RwLock::new(SessionSet { current, leaving: Vec::new() }),
            linking: tokio::sync::Mutex::default(),
            expected,
            planned_types: Mutex::new(types),
            shutdown: CancellationToken::new(),
            metrics: Arc::clone(metrics),
        }))
    }

    /// Opens another session, to which nothing migrates yet.
    ///
    /// # Errors
    /// Where its bus can never be used.
    pub(crate) fn open_another(&self, topology: &Topology) -> Result<Arc<BusSession>, BusError> {
        let session = BusSession::open(topology, self.expected.clone(), &self.metrics)?;
        session.host_context.registry.show(false);
        Ok(Arc::new(session))
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn expected(&self) -> &StartingTypes {
        &self.expected
    }

    /// Notes the types that the topology has workers of.
    pub(crate) fn set_planned_types(&self, types: BTreeSet<WorkerType>) {
        *self.planned_types.lock() = types;
    }

    /// Whether the topology has workers of this type, running or not.
    pub(crate) fn is_planned(&self, kind: &WorkerType) -> bool {
        self.planned_types.lock().contains(kind)
    }

    /// The session where workers are, or migrate to.
    pub(crate) fn current(&self) -> Arc<BusSession> {
        Arc::clone(&self.sessions.read().current)
    }

    /// The sessions that workers are leaving.
    pub(crate) fn leaving(&self) -> Vec<Arc<BusSession>> {
        self.sessions.read().leaving.iter().map(|leaving| Arc::clone(&leaving.session)).collect()
    }

    /// Makes this session the current one, linked to all others. Returns the one that was. Called by one task alone.
    pub(crate) async fn switch_to(&self, session: Arc<BusSession>) -> Arc<BusSession> {
        let _linking = self.linking.lock().await;
        let others: Vec<_> = {
            let sessions = self.sessions.read();
            let leaving = sessions.leaving.iter().map(|leaving| (Arc::clone(&leaving.session), leaving.committed));
            leaving.chain([(Arc::clone(&sessions.current), false)]).collect()
        };
        for (other, committed) in others {
            other.link(&session).await;
            if !committed {
                session.link(&other).await;
            }
        }
        self.sessions.write().make_current(session)
    }

    /// Adds a session that the workers of an earlier host have left, for the jobs that are still in its journal.
    pub(crate) fn add_abandoned(&self, session: Arc<BusSession>) {
        self.sessions.write().leaving.push(LeavingSession { session, committed: true });
    }

    /// Makes a session current again that not all workers have left yet, where there is one of this configuration. Returns the
    /// one that was current.
    pub(crate) fn switch_back_to(&self, config: &BusConfig) -> Option<Arc<BusSession>> {
        let mut sessions = self.sessions.write();
        let matches = |leaving: &LeavingSession| !leaving.committed && leaving.session.config == *config;
        let index = sessions.leaving.iter().position(matches)?;
        let session = sessions.leaving.remove(index).session;
        session.cancel_leaving();
        Some(sessions.make_current(session))
    }

    /// Notes that all slots have moved away from this session. `false` where it has become current again meanwhile.
    pub(crate) fn commit_leaving(&self, session: &Arc<BusSession>) -> bool {
        let mut sessions = self.sessions.write();
        let mut leaving = sessions.leaving.iter_mut();
        let Some(leaving) = leaving.find(|leaving| Arc::ptr_eq(&leaving.session, session)) else { return false };
        leaving.committed = true;
        true
    }

    /// Stops sends from all other sessions to this one. Returns once no job is on its way there.
    pub(crate) async fn stop_sends_to(&self, session: &Arc<BusSession>) {
        let _linking = self.linking.lock().await;
        let others = self.all().into_iter().filter(|other| !Arc::ptr_eq(other, session));
        join_all(others.map(|other| async move { other.stop_sends_to(session).await })).await;
    }

    /// Removes a session that is empty.
    pub(crate) fn remove(&self, session: &Arc<BusSession>) {
        let mut sessions = self.sessions.write();
        sessions.leaving.retain(|leaving| !Arc::ptr_eq(&leaving.session, session));
        for other in sessions.leaving.iter().map(|leaving| &leaving.session).chain([&sessions.current]) {
            other.unlink(session);
        }
    }

    /// Has all workers finish what they have begun by themselves.
    pub(crate) async fn finish_own_work(&self) {
        join_all(
            self.all().into_iter().map(|session| async move { session.host_context.shutdown.drain_plugins().await }),
        )
        .await;
    }

    /// Closes every session.
    pub(crate) async fn close(&self) {
        for session in self.all() {
            session.close().await;
        }
    }

    /// Those that are being left, then the current one.
    fn all(&self) -> Vec<Arc<BusSession>> {
        let sessions = self.sessions.read();
        let leaving = sessions.leaving.iter().map(|leaving| Arc::clone(&leaving.session));
        leaving.chain([Arc::clone(&sessions.current)]).collect()
    }
}

impl SessionSet {
    /// Returns the session that was current.
    fn make_current(&mut self, session: Arc<BusSession>) -> Arc<BusSession> {
        let old = std::mem::replace(&mut self.current, session);
        old.begin_leaving();
        old.host_context.registry.show(false);
        self.current.host_context.registry.show(true);
        self.leaving.push(LeavingSession { session: Arc::clone(&old), committed: false });
        old
    }
}
