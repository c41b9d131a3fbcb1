//! How long the jobs of a slot's type wait for its worker, where they would be refused otherwise.

use std::time::Duration;

use mshost_worker::StartingGuard;
use tokio_util::task::AbortOnDropHandle;

use super::slot_state::SlotState;

/// Whether a worker of the slot is announced as being started. One whose broken predecessor still holds its consumers need
/// not be: its jobs wait in the queue.
#[derive(Debug, Default)]
pub(super) enum StartExpectation {
    #[default]
    /// No worker is.
    None,
    /// It is being started, which has its own limit.
    Starting(StartingGuard),
    /// It failed, or the one before it died, and it is tried again. Ends by itself.
    Retrying { _ends: AbortOnDropHandle<()> },
}

impl StartExpectation {
    /// The expectation after a transition of the slot; `has_consumers` says whether one of its workers consumes from the bus.
    /// Jobs wait until the worker runs or is parked, and once it has failed for `start_timeout` at most, however often it is
    /// tried again.
    pub(super) fn after(
        self,
        state: SlotState,
        has_consumers: bool,
        start_timeout: Duration,
        announce: impl FnOnce() -> StartingGuard,
    ) -> Self {
        match (state, self) {
            (SlotState::Starting, Self::None) if !has_consumers => Self::Starting(announce()),
            (SlotState::Backoff, Self::None) if !has_consumers => Self::retrying(announce(), start_timeout),
            (SlotState::Backoff, Self::Starting(expectation)) if !has_consumers => {
                Self::retrying(expectation, start_timeout)
            }
            (SlotState::Starting | SlotState::Backoff, same) if !has_consumers => same,
            _ => Self::None,
        }
    }

    fn retrying(expectation: StartingGuard, start_timeout: Duration) -> Self {
        let ends = tokio::spawn(async move {
            tokio::time::sleep(start_timeout).await;
            drop(expectation);
        });
        Self::Retrying { _ends: AbortOnDropHandle::new(ends) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mshost_core::ids::WorkerType;
    use mshost_worker::StartingTypes;

    use super::*;

    const START_TIMEOUT: Duration = Duration::from_secs(30);

    /// Whether a worker is expected after each of these states.
    async fn expected_after(states: &[SlotState], has_consumers: bool) -> Vec<bool> {
        let (expected, kind) = (StartingTypes::default(), WorkerType::new("WB").unwrap());
        let (mut expectation, mut seen) = (StartExpectation::None, Vec::new());
        for state in states {
            expectation = expectation.after(*state, has_consumers, START_TIMEOUT, || expected.announce(kind.clone()));
            // What is aborted ends only when the runtime gets to it.
            tokio::task::yield_now().await;
            seen.push(expected.contains(&kind));
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_is_expected_until_it_runs_or_is_parked_also_between_its_tries() {
        use SlotState::{Backoff, Leaving, Parked, Running, Starting};
        let states =
            [Starting, Backoff, Starting, Backoff, Starting, Running, Backoff, Starting, Parked, Starting, Leaving];
        let seen = expected_after(&states, false).await;
        assert_eq!(seen, [true, true, true, true, true, false, true, true, false, true, false]);
        assert!(expected_after(&states, true).await.iter().all(|expects| !expects), "its place is kept for it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_fails_for_ever_is_not_expected_for_ever() {
        let (expected, kind) = (StartingTypes::default(), WorkerType::new("WB").unwrap());
        let announce = || expected.announce(kind.clone());
        let mut expectation = StartExpectation::None.after(SlotState::Starting, false, START_TIMEOUT, announce);
        tokio::time::sleep(2 * START_TIMEOUT).await;
        assert!(expected.contains(&kind), "its start has a limit of its own");
        for state in [SlotState::Backoff, SlotState::Starting].into_iter().cycle().take(8) {
            expectation = expectation.after(state, false, START_TIMEOUT, || expected.announce(kind.clone()));
            tokio::time::sleep(START_TIMEOUT / 4 + Duration::from_millis(1)).await;
        }
        assert!(!expected.contains(&kind));
        drop(expectation);
    }
}
