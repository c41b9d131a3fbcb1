//! Restarts of single workers, at the request of an operator.

use tokio::sync::mpsc::error::TrySendError;

use super::slot_controller::SlotHandle;
use super::slot_controller::slot_state::SlotEvent;
use super::status_board::StatusBoard;
use crate::admin::{RestartAccepted, RestartRefused, WorkerRestarter};

impl WorkerRestarter for StatusBoard {
    fn restart(&self, name: &str) -> Result<RestartAccepted, RestartRefused> {
        let (slots, pending) = self.slots();
        let meant: Vec<_> = slots.iter().filter(|slot| is_called(slot, name)).collect();
        match meant.as_slice() {
            [slot] => ask(slot),
            [] if pending.iter().any(|slot| slot == name) => {
                let why = format!("{name} waits for its plugin: put that into the folder of plugins");
                Err(RestartRefused::Conflict(why))
            }
            [] => {
                let why =
                    format!("there is no worker {name}: say the id of one, or its slot, as `/api/topology` has it");
                Err(RestartRefused::Unknown(why))
            }
            several => {
                let ids: Vec<_> = several.iter().filter_map(|slot| slot.status.lock().worker.clone()).collect();
                let ids = ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(", ");
                let why =
                    format!("{name} is a slot of several plugins: say the id of the worker that is meant ({ids})");
                Err(RestartRefused::Conflict(why))
            }
        }
    }
}

fn is_called(slot: &SlotHandle, name: &str) -> bool {
    let status = slot.status.lock();
    status.worker.as_ref().is_some_and(|id| **id == *name) || status.slot.to_string() == name
}

fn ask(slot: &SlotHandle) -> Result<RestartAccepted, RestartRefused> {
    let status = slot.status.lock();
    let name = status.slot.to_string();
    if status.state.after(SlotEvent::RestartRequested).is_err() {
        return Err(RestartRefused::Conflict(format!("{name} is {} as it is", status.state)));
    }
    if let Some(reason) = status.blocked_by_threads() {
        return Err(RestartRefused::Conflict(format!(
            "{name} stays parked: {reason}. Only a new file of the plugin or a restart of the host helps"
        )));
    }
    drop(status);
    let restart = match slot.restart.try_send(()) {
        Ok(()) => "requested",
        Err(TrySendError::Full(())) => "already requested",
        Err(TrySendError::Closed(())) => return Err(RestartRefused::Conflict(format!("{name} is leaving"))),
    };
    Ok(RestartAccepted { slot: name, restart: restart.to_owned() })
}
