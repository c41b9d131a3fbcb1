//! What the dead leave behind on the bus: the active manager has it tidied up, for all hosts.

use std::collections::VecDeque;
use std::time::Duration;

use mshost_bus::{BusState, HostBus};
use mshost_core::ids::WorkerRef;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::registry::Registry;
use super::service::LOG;

/// More dead workers are not remembered; what waits for one that was forgotten waits until its queue expires.
const MAX: usize = 100_000;
/// How long a manager that stands by remembers whom it expired: the active one may die before it has tidied up after them.
const REMEMBER: Duration = Duration::from_secs(5 * 60);
/// How often, and after what wait, it is tried to tidy up after one worker.
/// A broker notices a silent partition after two heartbeats, 20 s by default.
const ATTEMPTS: u32 = 15;
const WAIT: Duration = Duration::from_secs(3);

/// Who was taken for dead, in that order.
#[derive(Debug, Default)]
pub(super) struct Graves {
    dead: VecDeque<(Instant, WorkerRef)>,
}

impl Graves {
    pub(super) fn add(&mut self, worker: WorkerRef, now: Instant) {
        if self.dead.len() >= MAX {
            self.dead.pop_front();
        }
        self.dead.push_back((now, worker));
    }

    /// Another manager has had the time to tidy up after the older ones.
    pub(super) fn forget_old(&mut self, now: Instant) {
        while self.dead.front().is_some_and(|(died, _)| now.duration_since(*died) > REMEMBER) {
            self.dead.pop_front();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dead.is_empty()
    }

    pub(super) fn take(&mut self) -> Option<WorkerRef> {
        self.dead.pop_front().map(|(_, worker)| worker)
    }
}

/// Tidies up after each worker that comes, one by one, until there is no sender any more or the bus is closed.
pub(super) async fn tidy_up(bus: &dyn HostBus, registry: &Registry, mut dead: mpsc::Receiver<WorkerRef>) {
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
                    debug!(target: LOG, id = %worker.id, %error, "cannot tidy up after a dead worker yet");
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
