//! The states of a worker, and the only steps between them.

use std::fmt;

/// Where a worker is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerState {
    /// The plugin makes it, and it takes its place on the bus.
    Starting,
    /// The plugin has made it, and it waits to be admitted to the bus.
    Prepared,
    /// It takes jobs.
    Running,
    /// It has its place and takes no jobs, while another is about to take over its state.
    HandingOver,
    /// Its plugin panicked, so what it knows may be wrong: it finishes what it has, takes nothing new, and waits for the one
    /// that replaces it.
    Broken(StartFailure),
    /// It takes no more jobs, and finishes those that it has.
    Draining,
    /// It has left.
    Stopped,
    /// It could not start, or died.
    Failed(StartFailure),
}

/// What happens to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WorkerEvent {
    /// It is made, and does not join the bus by itself.
    Prepared,
    /// It is made, and has its place on the bus.
    Ready,
    /// Another is to take over its state.
    HandsOver,
    /// Nobody takes over after all.
    GoesOn,
    /// Its plugin panicked.
    Broke(StartFailure),
    /// Somebody wants it to leave.
    Dismissed,
    /// It has left the bus, as it was told to.
    Left,
    /// It cannot go on.
    Failed(StartFailure),
}

/// Why a worker does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartFailure(pub String);

/// A step that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a worker that is {state} cannot take the step {event:?}")]
pub(super) struct NoSuchStep {
    state: WorkerState,
    event: WorkerEvent,
}

impl WorkerState {
    /// The state after an event.
    pub(super) fn after(&self, event: WorkerEvent) -> Result<Self, NoSuchStep> {
        use WorkerEvent as E;
        Ok(match (self, event) {
            (Self::Starting, E::Prepared) => Self::Prepared,
            (Self::Starting | Self::Prepared, E::Ready) | (Self::HandingOver, E::GoesOn) => Self::Running,
            (Self::Running, E::HandsOver) => Self::HandingOver,
            (Self::Running | Self::HandingOver, E::Broke(failure)) => Self::Broken(failure),
            (Self::Running | Self::HandingOver | Self::Broken(_), E::Dismissed) => Self::Draining,
            // Who is dismissed before it was ready has nothing to finish.
            (Self::Starting | Self::Prepared | Self::Draining, E::Left) => Self::Stopped,
            (Self::Stopped | Self::Failed(_), event) => return Err(NoSuchStep { state: self.clone(), event }),
            (_, E::Failed(failure)) => Self::Failed(failure),
            (_, event) => return Err(NoSuchStep { state: self.clone(), event }),
        })
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Prepared => "prepared",
            Self::Running => "running",
            Self::HandingOver => "handing over",
            Self::Broken(_) => "broken",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why() -> StartFailure {
        StartFailure("why".to_owned())
    }

    /// The table: a row for each state, a column for each event, in the order of `events`. `-` is no step.
    const TABLE: [(&str, [&str; 8]); 8] = [
        //                Prepared    Ready      HandsOver       GoesOn     Broke     Dismissed   Left       Failed
        ("starting", ["prepared", "running", "-", "-", "-", "-", "stopped", "failed"]),
        ("prepared", ["-", "running", "-", "-", "-", "-", "stopped", "failed"]),
        ("running", ["-", "-", "handing over", "-", "broken", "draining", "-", "failed"]),
        ("handing over", ["-", "-", "-", "running", "broken", "draining", "-", "failed"]),
        ("broken", ["-", "-", "-", "-", "-", "draining", "-", "failed"]),
        ("draining", ["-", "-", "-", "-", "-", "-", "stopped", "failed"]),
        ("stopped", ["-", "-", "-", "-", "-", "-", "-", "-"]),
        ("failed", ["-", "-", "-", "-", "-", "-", "-", "-"]),
    ];

    #[test]
    fn each_pair_of_state_and_event_is_a_step_of_the_table_or_refused() {
        use WorkerState as S;
        let states = [
            S::Starting,
            S::Prepared,
            S::Running,
            S::HandingOver,
            S::Broken(why()),
            S::Draining,
            S::Stopped,
            S::Failed(why()),
        ];
        for (state, (name, row)) in states.iter().zip(TABLE) {
            assert_eq!(state.to_string(), name);
            use WorkerEvent as E;
            let events = [
                E::Prepared,
                E::Ready,
                E::HandsOver,
                E::GoesOn,
                E::Broke(why()),
                E::Dismissed,
                E::Left,
                E::Failed(why()),
            ];
            for (event, expected) in events.into_iter().zip(row) {
                let after = state.after(event.clone()).map_or_else(|_| "-".to_owned(), |after| after.to_string());
                assert_eq!(after, expected, "{name}, {event:?}");
            }
        }
    }
}
