//! The state machine of a slot: its states, and the only transitions between them.

use std::fmt;

/// What a slot's controller is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// No worker takes jobs; one is being started.
    Starting,
    /// A worker takes jobs.
    Running,
    /// A worker takes jobs, and another is being started in its place.
    Replacing,
    /// No worker takes jobs; another try is due after a while.
    Backoff,
    /// No worker takes jobs, and none is started until an operator acts.
    Parked,
    /// The slot is no more; its last worker finishes.
    Leaving,
    /// Nothing is left.
    Empty,
}

/// What happens to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotEvent {
    /// The worker that was being started takes jobs.
    Ready,
    /// The worker that was being started did not, or the one that ran broke or died; and it may be tried again.
    Failed,
    /// The same, and it has been tried too often.
    GivenUp,
    /// The wait before the next try is over.
    BackoffElapsed,
    /// The desired state has changed.
    DesiredChanged,
    /// An operator asked for a fresh worker.
    RestartRequested,
    /// The slot is to run nothing any more.
    Withdrawn,
    /// The last worker has finished its jobs and left.
    Drained,
}

/// An event that cannot happen in this state: a bug in the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a slot that is {state} cannot take the step {event:?}")]
pub(crate) struct InvalidSlotEvent {
    state: SlotState,
    event: SlotEvent,
}

impl SlotState {
    /// The state after an event.
    pub(crate) fn after(self, event: SlotEvent) -> Result<Self, InvalidSlotEvent> {
        use SlotEvent as E;
        Ok(match (self, event) {
            (Self::Starting | Self::Replacing, E::Ready) => Self::Running,
            // The old one goes on as it is.
            (Self::Replacing, E::Failed | E::DesiredChanged) => Self::Running,
            (Self::Starting | Self::Running, E::Failed) => Self::Backoff,
            (Self::Starting | Self::Running, E::GivenUp) => Self::Parked,
            (Self::Running, E::DesiredChanged | E::RestartRequested) => Self::Replacing,
            (Self::Backoff, E::BackoffElapsed) => Self::Starting,
            (Self::Starting | Self::Backoff | Self::Parked, E::DesiredChanged) => Self::Starting,
            (Self::Backoff | Self::Parked, E::RestartRequested) => Self::Starting,
            (Self::Leaving, E::Drained) => Self::Empty,
            (Self::Starting | Self::Running | Self::Replacing | Self::Backoff | Self::Parked, E::Withdrawn) => {
                Self::Leaving
            }
            _ => return Err(InvalidSlotEvent { state: self, event }),
        })
    }
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Replacing => "being replaced",
            Self::Backoff => "waiting for its next try",
            Self::Parked => "parked",
            Self::Leaving => "leaving",
            Self::Empty => "empty",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::SlotEvent::{
        BackoffElapsed, DesiredChanged, Drained, Failed, GivenUp, Ready, RestartRequested, Withdrawn,
    };
    use super::SlotState::{Backoff, Empty, Leaving, Parked, Replacing, Running, Starting};
    use super::*;

    const STATES: [SlotState; 7] = [Starting, Running, Replacing, Backoff, Parked, Leaving, Empty];
    const EVENTS: [SlotEvent; 8] =
        [Ready, Failed, GivenUp, BackoffElapsed, DesiredChanged, RestartRequested, Withdrawn, Drained];

    /// A row for each state, a column for each event.
    const TABLE: [[Option<SlotState>; 8]; 7] = [
        [Some(Running), Some(Backoff), Some(Parked), None, Some(Starting), None, Some(Leaving), None],
        [None, Some(Backoff), Some(Parked), None, Some(Replacing), Some(Replacing), Some(Leaving), None],
        [Some(Running), Some(Running), None, None, Some(Running), None, Some(Leaving), None],
        [None, None, None, Some(Starting), Some(Starting), Some(Starting), Some(Leaving), None],
        [None, None, None, None, Some(Starting), Some(Starting), Some(Leaving), None],
        [None, None, None, None, None, None, None, Some(Empty)],
        [None; 8],
    ];

    #[test]
    fn each_pair_of_state_and_event_is_a_step_of_the_table_or_refused() {
        for (state, row) in STATES.into_iter().zip(TABLE) {
            for (event, expected) in EVENTS.into_iter().zip(row) {
                assert_eq!(state.after(event).ok(), expected, "{state}, {event:?}");
            }
        }
    }

    /// Whatever happened before, a slot that is withdrawn ends.
    #[test]
    fn every_state_but_the_last_leads_to_the_end() {
        for state in STATES {
            let leaving = state.after(Withdrawn).unwrap_or(state);
            assert_eq!(leaving.after(Drained).unwrap_or(leaving), Empty, "{state}");
        }
    }
}
