//! Queue cleanup: the active manager deletes the queues that dead workers leave on the bus, for all hosts.

use std::time::Duration;

use mshost_bus::{BusState, HostBus};
use mshost_core::ids::WorkerRef;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::log_target::LOG;
use super::registry::Registry;

/// How often, and after what wait, the queue of one worker is tried to be deleted.
/// A broker notices a silent partition after two heartbeats, 20 s by default.
const ATTEMPTS: u32 = 15;
const WAIT: Duration = Duration::from_secs(3);

/// Deletes the queue of each dead worker that comes, one by one, until there is no sender any more or the bus is closed.
pub(super) async fn delete_queues(bus: &dyn HostBus, registry: &Registry, mut dead: mpsc::Receiver<WorkerRef>) {
    while let Some(worker) = dead.recv().await {
        for attempt in 1..=ATTEMPTS {
            if !is_usable(bus).await {
                return;
            }
            // It lives: it was only slow to answer.
            if registry.get(&worker.id).is_some() {
                break;
            }
            match bus.leadership().delete_queue_of(&worker).await {
                Ok(()) => break,
                Err(error) if attempt < ATTEMPTS => {
                    debug!(target: LOG, id = %worker.id, %error, "cannot delete the queue of a dead worker yet");
                    tokio::time::sleep(WAIT).await;
                }
                Err(error) => {
                    warn!(target: LOG, id = %worker.id, %error, "what waits for this dead worker waits until its queue expires");
                }
            }
        }
    }
}

/// Waits while the bus is away; `false` once it is closed.
async fn is_usable(bus: &dyn HostBus) -> bool {
    let mut state = bus.state();
    let settled = state.wait_for(|state| !matches!(state, BusState::Away { .. })).await;
    settled.is_ok_and(|state| *state == BusState::Connected)
}
