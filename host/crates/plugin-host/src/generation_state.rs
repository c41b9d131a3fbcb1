//! State machine of a generation: its states, the events, and the only transitions.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// The state of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationState {
    /// Workers may run in it.
    Loaded,
    /// No worker needs it any more; its threads are being ended.
    Retiring,
    /// Its library has left the memory.
    Unmapped,
    /// Its library stays in memory for as long as the host runs.
    StillMapped,
}

/// An event in the life of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GenerationEvent {
    /// No worker needs it any more.
    Released,
    /// Its library is closed and gone.
    Closed,
    /// Its library cannot be closed, or must not be.
    Stayed,
}

/// An event that is not valid in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a generation that is {state} cannot take the event {event:?}")]
pub(crate) struct InvalidGenerationEvent {
    state: GenerationState,
    event: GenerationEvent,
}

impl GenerationState {
    /// The state after an event.
    pub(crate) fn after(self, event: GenerationEvent) -> Result<Self, InvalidGenerationEvent> {
        match (self, event) {
            (Self::Loaded, GenerationEvent::Released) => Ok(Self::Retiring),
            (Self::Retiring, GenerationEvent::Closed) => Ok(Self::Unmapped),
            (Self::Retiring, GenerationEvent::Stayed) => Ok(Self::StillMapped),
            _ => Err(InvalidGenerationEvent { state: self, event }),
        }
    }
}

impl fmt::Display for GenerationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loaded => "loaded",
            Self::Retiring => "retiring",
            Self::Unmapped => "unmapped",
            Self::StillMapped => "still mapped",
        })
    }
}

/// The state of one generation, shared by its clones.
#[derive(Debug, Clone)]
pub(crate) struct SharedGenerationState(Arc<Mutex<GenerationState>>);

impl SharedGenerationState {
    pub(crate) fn loaded() -> Self {
        Self(Arc::new(Mutex::new(GenerationState::Loaded)))
    }

    pub(crate) fn get(&self) -> GenerationState {
        *self.0.lock()
    }

    /// Applies an event. Of several callers with the same event only the first succeeds.
    pub(crate) fn apply(&self, event: GenerationEvent) -> Result<(), InvalidGenerationEvent> {
        let mut state = self.0.lock();
        *state = state.after(event)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::GenerationEvent::{Closed, Released, Stayed};
    use super::GenerationState::{Loaded, Retiring, StillMapped, Unmapped};
    use super::*;

    /// A row for each state, a column for each event.
    const TABLE: [(GenerationState, [Option<GenerationState>; 3]); 4] = [
        //         Released        Closed          Stayed
        (Loaded, [Some(Retiring), None, None]),
        (Retiring, [None, Some(Unmapped), Some(StillMapped)]),
        (Unmapped, [None, None, None]),
        (StillMapped, [None, None, None]),
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
        let stage = SharedGenerationState::loaded();
        assert_eq!([(); 3].map(|()| stage.clone().apply(Released).is_ok()), [true, false, false]);
        assert_eq!(stage.get(), Retiring);
    }
}
