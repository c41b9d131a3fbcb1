//! The states of a slot, and the only steps between them.

use std::fmt;

/// What a keeper is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    /// No worker takes jobs; one is being started.
    Starting,
    /// A worker takes jobs.
    Running,
    /// A worker takes jobs, and another is being started in its place.
    Replacing,
    /// No worker takes jobs; another try is due after a while.
    Backoff,
    /// No worker takes jobs, and none is started until somebody has done something about it.
    Parked,
    /// The slot is no more; its last worker finishes.
    Leaving,
    /// Nothing is left.
    Empty,
}

/// What happens to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotEvent {
    /// The worker that was being started takes jobs.
    Ready,
    /// The worker that was being started did not, or the one that ran broke or died; and it may be tried again.
    Failed,
    /// The same, and it has been tried too often.
    GivenUp,
    /// It has waited long enough before the next try.
    WaitOver,
    /// The slot is to run something else.
    Wished,
    /// Somebody asked for a fresh worker.
    RestartAsked,
    /// The slot is to run nothing any more.
    Withdrawn,
    /// The last worker has left.
    Left,
}

/// A step that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a slot that is {state} cannot take the step {event:?}")]
pub(super) struct NoSuchStep {
    state: SlotState,
    event: SlotEvent,
}

impl SlotState {
    /// The state after an event.
    pub(super) fn after(self, event: SlotEvent) -> Result<Self, NoSuchStep> {
        use SlotEvent as E;
        Ok(match (self, event) {
            (Self::Starting | Self::Replacing, E::Ready) => Self::Running,
            // The old one goes on as it is.
            (Self::Replacing, E::Failed | E::Wished) => Self::Running,
            (Self::Starting | Self::Running, E::Failed) => Self::Backoff,
            (Self::Starting | Self::Running, E::GivenUp) => Self::Parked,
            (Self::Running, E::Wished | E::RestartAsked) => Self::Replacing,
            (Self::Backoff, E::WaitOver) => Self::Starting,
            (Self::Starting | Self::Backoff | Self::Parked, E::Wished) => Self::Starting,
            (Self::Backoff | Self::Parked, E::RestartAsked) => Self::Starting,
            (Self::Leaving, E::Left) => Self::Empty,
            (Self::Starting | Self::Running | Self::Replacing | Self::Backoff | Self::Parked, E::Withdrawn) => {
                Self::Leaving
            }
            _ => return Err(NoSuchStep { state: self, event }),
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
    use super::SlotEvent::{Failed, GivenUp, Left, Ready, RestartAsked, WaitOver, Wished, Withdrawn};
    use super::SlotState::{Backoff, Empty, Leaving, Parked, Replacing, Running, Starting};
    use super::*;

    const STATES: [SlotState; 7] = [Starting, Running, Replacing, Backoff, Parked, Leaving, Empty];
    const EVENTS: [SlotEvent; 8] = [Ready, Failed, GivenUp, WaitOver, Wished, RestartAsked, Withdrawn, Left];

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
            assert_eq!(leaving.after(Left).unwrap_or(leaving), Empty, "{state}");
        }
    }
}
