//! How long the jobs of a slot's type wait for its worker, where they would be refused otherwise.

use std::time::Duration;

use mshost_worker::Expectation;
use tokio_util::task::AbortOnDropHandle;

use super::SlotState;

/// Whether a worker of the slot is on its way. One whose place is kept for it is not expected: its jobs wait there.
#[derive(Debug, Default)]
pub(super) enum Expecting {
    #[default]
    Nobody,
    /// It is being started, which has its own limit.
    Once(Expectation),
    /// It failed, or the one before it died, and it is tried again. Ends by itself.
    Again { _ends: AbortOnDropHandle<()> },
}

impl Expecting {
    /// After a step of the slot, in which `has_place` says whether a worker of it has a place on the bus. Jobs wait until the
    /// worker runs or is parked, and once it has failed for `patience` at most, however often it is tried again.
    pub(super) fn after(
        self,
        state: SlotState,
        has_place: bool,
        patience: Duration,
        announce: impl FnOnce() -> Expectation,
    ) -> Self {
        match (state, self) {
            (SlotState::Starting, Self::Nobody) if !has_place => Self::Once(announce()),
            (SlotState::Backoff, Self::Nobody) if !has_place => Self::again(announce(), patience),
            (SlotState::Backoff, Self::Once(expectation)) if !has_place => Self::again(expectation, patience),
            (SlotState::Starting | SlotState::Backoff, same) if !has_place => same,
            _ => Self::Nobody,
        }
    }

    fn again(expectation: Expectation, patience: Duration) -> Self {
        let ends = tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            drop(expectation);
        });
        Self::Again { _ends: AbortOnDropHandle::new(ends) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mshost_core::ids::WorkerType;
    use mshost_worker::Expected;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What a slot without a place expects after each of these states, and whether somebody is expected then.
    async fn expected_after(states: &[SlotState], has_place: bool) -> Vec<bool> {
        let (expected, kind) = (Expected::default(), WorkerType::new("WB").unwrap());
        let (mut expecting, mut seen) = (Expecting::Nobody, Vec::new());
        for state in states {
            expecting = expecting.after(*state, has_place, PATIENCE, || expected.announce(kind.clone()));
            // What is aborted ends only when the runtime gets to it.
            tokio::task::yield_now().await;
            seen.push(expected.expects(&kind));
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
        let (expected, kind) = (Expected::default(), WorkerType::new("WB").unwrap());
        let announce = || expected.announce(kind.clone());
        let mut expecting = Expecting::Nobody.after(SlotState::Starting, false, PATIENCE, announce);
        tokio::time::sleep(2 * PATIENCE).await;
        assert!(expected.expects(&kind), "its start has a limit of its own");
        for state in [SlotState::Backoff, SlotState::Starting].into_iter().cycle().take(8) {
            expecting = expecting.after(state, false, PATIENCE, || expected.announce(kind.clone()));
            tokio::time::sleep(PATIENCE / 4 + Duration::from_millis(1)).await;
        }
        assert!(!expected.expects(&kind));
        drop(expecting);
    }
}
