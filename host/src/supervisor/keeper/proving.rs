//! What a keeper does while a version that it is to run is on trial.

use super::super::prove::{self, Part};
use super::{Keeping, Proved, SlotState, Stragglers, Wish, wished};

impl Keeping {
    /// Where the version is on trial, finds out whether it may take the place of the one that runs.
    pub(super) async fn prove(&mut self, wish: &Wish, stragglers: &Stragglers) -> Proved {
        let current = self.current.as_ref().filter(|_| self.state == SlotState::Replacing);
        let Some(current) = current else { return Proved::Yes(None) };
        let Some((trial, part)) = prove::part(wish, &current.made_from, &current.worker) else {
            return Proved::Yes(None);
        };
        let mut canary = match part {
            Part::Wait => None,
            Part::Compare(entrance) => match self.begin(wish, stragglers.clone(), entrance) {
                Ok(canary) => Some(canary),
                Err(failure) => {
                    trial.fail(&format!("{} did not start: {failure}", self.slot));
                    return Proved::No(failure);
                }
            },
        };
        let proving = async {
            match &mut canary {
                Some(canary) => prove::compare(&mut canary.worker, &current.worker, wish, trial).await,
                None => prove::wait(&current.worker, trial).await,
            }
        };
        let proved = tokio::select! {
            proved = proving => proved.map_err(Proved::No),
            event = wished(&mut self.wishes) => Err(Proved::CalledOff(event)),
        };
        match proved {
            Ok(()) => Proved::Yes(canary),
            Err(no) => {
                self.dismiss(canary);
                no
            }
        }
    }
}
