//! The states of a generation, and the only steps between them.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// Where a loaded version of a plugin is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationState {
    /// Workers may run in it.
    Loaded,
    /// Nobody needs it any more; its threads are ended.
    Retiring,
    /// Its library has left the memory.
    Unmapped,
    /// Its library stays in memory for as long as the host runs.
    Kept,
}

/// What happens to a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GenerationEvent {
    /// Nobody needs it any more.
    Released,
    /// Its library is closed and gone.
    Closed,
    /// Its library cannot be closed, or must not be.
    Stayed,
}

/// A step that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a generation that is {state} cannot take the step {event:?}")]
pub(super) struct NoSuchStep {
    state: GenerationState,
    event: GenerationEvent,
}

impl GenerationState {
    /// The state after an event.
    pub(super) fn after(self, event: GenerationEvent) -> Result<Self, NoSuchStep> {
        match (self, event) {
            (Self::Loaded, GenerationEvent::Released) => Ok(Self::Retiring),
            (Self::Retiring, GenerationEvent::Closed) => Ok(Self::Unmapped),
            (Self::Retiring, GenerationEvent::Stayed) => Ok(Self::Kept),
            _ => Err(NoSuchStep { state: self, event }),
        }
    }
}

impl fmt::Display for GenerationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loaded => "loaded",
            Self::Retiring => "retiring",
            Self::Unmapped => "unmapped",
            Self::Kept => "kept",
        })
    }
}

/// The state of one generation, for all that end it. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Stage(Arc<Mutex<GenerationState>>);

impl Stage {
    pub(super) fn loaded() -> Self {
        Self(Arc::new(Mutex::new(GenerationState::Loaded)))
    }

    pub(super) fn get(&self) -> GenerationState {
        *self.0.lock()
    }

    /// Takes a step; only the first of several that ask for the same one gets it.
    pub(super) fn step(&self, event: GenerationEvent) -> Result<(), NoSuchStep> {
        let mut state = self.0.lock();
        *state = state.after(event)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::GenerationEvent::{Closed, Released, Stayed};
    use super::GenerationState::{Kept, Loaded, Retiring, Unmapped};
    use super::*;

    /// A row for each state, a column for each event.
    const TABLE: [(GenerationState, [Option<GenerationState>; 3]); 4] = [
        //         Released        Closed          Stayed
        (Loaded, [Some(Retiring), None, None]),
        (Retiring, [None, Some(Unmapped), Some(Kept)]),
        (Unmapped, [None, None, None]),
        (Kept, [None, None, None]),
    ];

    #[test]
    fn each_pair_of_state_and_event_is_a_step_of_the_table_or_refused() {
        for (state, row) in TABLE {
            for (event, expected) in [Released, Closed, Stayed].into_iter().zip(row) {
                assert_eq!(state.after(event).ok(), expected, "{state}, {event:?}");
            }
        }
    }

    #[test]
    fn only_one_of_several_gets_a_step() {
        let stage = Stage::loaded();
        assert_eq!([(); 3].map(|()| stage.clone().step(Released).is_ok()), [true, false, false]);
        assert_eq!(stage.get(), Retiring);
    }
}
