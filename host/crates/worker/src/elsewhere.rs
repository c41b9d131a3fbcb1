//! A worker that is run elsewhere: in a process of its own.

use std::sync::Arc;

use mshost_core::ids::WorkerId;
use mshost_plugin_host::StateSnapshot;
use mshost_topology::WorkerSpec;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::handle::{End, ORDERS, Worker};
use super::progress::Progress;
use super::request::Order;
use super::start_mode::Entrance;
use super::{Listeners, StartFailure, WorkerState, fresh};

/// The other end of a [`Worker`], held by whoever runs it. Dropping it ends the worker.
pub struct Elsewhere {
    /// Its id on the bus.
    pub id: WorkerId,
    /// Where it is in its life.
    pub state: watch::Sender<WorkerState>,
    /// What it has done.
    pub progress: Arc<Progress>,
    /// It is to drain and leave.
    pub stop: CancellationToken,
    /// It may join, with the state of the one before where there is any; `None` where it need not wait for that.
    pub admitted: Option<oneshot::Receiver<Option<StateSnapshot>>>,
    /// What else is to be done.
    pub orders: mpsc::Receiver<Order>,
    // Never sent to: dropped at the end, which is the signal.
    _ended: oneshot::Sender<()>,
}

impl Worker {
    /// A worker that is run elsewhere, and the end for whoever runs it.
    pub fn elsewhere(
        spec: &WorkerSpec,
        listeners: &Listeners,
        entrance: &Entrance,
    ) -> Result<(Self, Elsewhere), StartFailure> {
        let id = fresh::worker_id(&spec.worker_type).map_err(|error| StartFailure(error.to_string()))?;
        let (report, state) = watch::channel(WorkerState::Starting);
        let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
        let (ended, end) = oneshot::channel();
        let (orders, received) = mpsc::channel(ORDERS);
        let (admission, admitted) = match entrance {
            Entrance::Admitted => {
                let (sender, receiver) = oneshot::channel();
                (Some(sender), Some(receiver))
            }
            Entrance::AtOnce | Entrance::OnTrial(_) => (None, None),
        };
        let worker = Self {
            id: id.clone(),
            state,
            progress: Arc::clone(&progress),
            stop: stop.clone(),
            admission,
            orders,
            end: End::Elsewhere(end),
            addresses: listeners.addresses(),
        };
        Ok((worker, Elsewhere { id, state: report, progress, stop, admitted, orders: received, _ended: ended }))
    }
}
