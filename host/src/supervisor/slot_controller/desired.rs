//! The desired state of a slot.

use std::sync::Arc;

use mshost_topology::WorkerSpec;

use crate::supervisor::bus_session::session::BusSession;
use crate::supervisor::canary::evaluation::CanaryEvaluation;
use crate::supervisor::plugin_store::lease::Lease;

/// What a slot should run: a worker of this entry, made from this generation, on this bus.
#[derive(Clone)]
pub(crate) struct Desired {
    pub(crate) spec: Arc<WorkerSpec>,
    pub(crate) generation: Lease,
    /// The canary evaluation that the generation has to pass first, while there is one.
    pub(crate) canary: Option<Arc<CanaryEvaluation>>,
    /// The bus that the worker is to live on, with its manager and registry.
    pub(crate) session: Arc<BusSession>,
}

impl Desired {
    /// Whether a worker made from `other` is what this asks for.
    pub(crate) fn is_met_by(&self, other: &Self) -> bool {
        self.spec == other.spec
            && self.generation.id() == other.generation.id()
            && Arc::ptr_eq(&self.session, &other.session)
    }

    /// Whether its worker hands over its state.
    pub(crate) fn keeps_state(&self) -> bool {
        let mut workers = self.generation.info().workers.iter();
        workers.any(|worker| worker.worker_type == *self.spec.worker_type && worker.state.is_some())
    }
}
