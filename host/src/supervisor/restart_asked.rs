//! Somebody asks for a fresh worker.

use tokio::sync::mpsc::error::TrySendError;

use super::board::Board;
use super::keeper::SlotHandle;
use super::slot_state::SlotEvent;
use crate::admin::{RestartAsked, RestartRefused, WorkerRestarts};

impl WorkerRestarts for Board {
    fn restart(&self, name: &str) -> Result<RestartAsked, RestartRefused> {
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
                let ids: Vec<_> = several.iter().filter_map(|slot| slot.view.lock().worker.clone()).collect();
                let ids = ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(", ");
                let why =
                    format!("{name} is a slot of several plugins: say the id of the worker that is meant ({ids})");
                Err(RestartRefused::Conflict(why))
            }
        }
    }
}

fn is_called(slot: &SlotHandle, name: &str) -> bool {
    let view = slot.view.lock();
    view.worker.as_ref().is_some_and(|id| **id == *name) || view.slot.to_string() == name
}

fn ask(slot: &SlotHandle) -> Result<RestartAsked, RestartRefused> {
    let view = slot.view.lock();
    let name = view.slot.to_string();
    if view.state.after(SlotEvent::RestartAsked).is_err() {
        return Err(RestartRefused::Conflict(format!("{name} is {} as it is", view.state)));
    }
    if let Some(stuck) = view.stuck() {
        return Err(RestartRefused::Conflict(format!(
            "{name} stays parked: {stuck}. Only a new file of the plugin or a restart of the host helps"
        )));
    }
    drop(view);
    let restart = match slot.restart.try_send(()) {
        Ok(()) => "requested",
        Err(TrySendError::Full(())) => "already requested",
        Err(TrySendError::Closed(())) => return Err(RestartRefused::Conflict(format!("{name} is leaving"))),
    };
    Ok(RestartAsked { slot: name, restart: restart.to_owned() })
}
