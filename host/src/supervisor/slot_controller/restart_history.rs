//! Decides whether a worker that failed is started again, and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mshost_core::backoff::shortened;
use mshost_topology::RestartPolicy;

/// The failures of a slot, as far as they matter to its [`RestartPolicy`].
#[derive(Debug, Default)]
pub(super) struct RestartHistory {
    /// When there was a restart, the oldest first; no more than `max_restarts`, none older than `window`.
    made: VecDeque<Instant>,
    /// Failures since it last ran well.
    in_a_row: u32,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestartDecision {
    /// Start it again after this wait.
    After(Duration),
    /// It has failed too often.
    Park,
}

impl RestartHistory {
    /// One more failure, of a worker that had run for `lived`, or of one that did not start. One that had run for as long as
    /// the window is started again at once.
    pub(super) fn failed(&mut self, policy: &RestartPolicy, now: Instant, lived: Option<Duration>) -> RestartDecision {
        let ran = lived.is_some();
        if lived.is_some_and(|lived| lived >= policy.window) {
            self.in_a_row = 0;
        }
        while self.made.front().is_some_and(|made| now.saturating_duration_since(*made) >= policy.window) {
            self.made.pop_front();
        }
        if let Some(most) = policy.max_restarts {
            if self.made.len() >= most as usize {
                return RestartDecision::Park;
            }
            self.made.push_back(now);
        }
        let before = self.in_a_row;
        self.in_a_row = before.saturating_add(1);
        // The first replacement of a worker that did run is made at once: its jobs need not wait.
        let doublings = match (before, ran) {
            (0, true) => return RestartDecision::After(Duration::ZERO),
            (_, true) => before - 1,
            (_, false) => before,
        };
        let full = policy.delay.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        RestartDecision::After(shortened(full.min(policy.max_delay), policy.jitter))
    }

    /// Something has changed: what failed before does not count.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> RestartPolicy {
        RestartPolicy { delay: SECOND, max_delay: 10 * SECOND, jitter: 0.0, max_restarts: Some(5), window: 60 * SECOND }
    }

    #[test]
    fn the_first_replacement_is_made_at_once_and_the_next_after_ever_longer_waits_until_it_is_parked() {
        let (mut restarts, now) = (RestartHistory::default(), Instant::now());
        let verdicts = [(); 7].map(|()| restarts.failed(&policy(), now, Some(SECOND)));
        let again = |seconds| RestartDecision::After(seconds * SECOND);
        assert_eq!(
            verdicts,
            [again(0), again(1), again(2), again(4), again(8), RestartDecision::Park, RestartDecision::Park]
        );
        restarts.reset();
        assert_eq!(restarts.failed(&policy(), now, Some(SECOND)), again(0));
    }

    #[test]
    fn one_that_does_not_start_waits_from_the_first_time_on_and_never_longer_than_the_limit() {
        let policy = RestartPolicy { max_restarts: None, ..policy() };
        let (mut restarts, now) = (RestartHistory::default(), Instant::now());
        let waits = [(); 40].map(|()| restarts.failed(&policy, now, None));
        let again = |seconds| RestartDecision::After(seconds * SECOND);
        assert_eq!(waits[..5], [again(1), again(2), again(4), again(8), again(10)]);
        assert!(waits[5..].iter().all(|wait| *wait == again(10)), "{waits:?}");
        assert!(restarts.made.is_empty(), "nothing is remembered where nothing is counted");
    }

    #[test]
    fn only_the_window_counts() {
        let (mut restarts, began) = (RestartHistory::default(), Instant::now());
        for second in (0..600).step_by(13) {
            let verdict = restarts.failed(&policy(), began + second * SECOND, Some(SECOND));
            assert_ne!(verdict, RestartDecision::Park, "at {second} s");
        }
        assert!(restarts.made.len() <= 5);
        let now = began + 700 * SECOND;
        assert_eq!(
            restarts.failed(&policy(), now, Some(60 * SECOND)),
            RestartDecision::After(Duration::ZERO),
            "it ran well"
        );
    }

    #[test]
    fn none_is_none() {
        let never = RestartPolicy { max_restarts: Some(0), ..policy() };
        assert_eq!(RestartHistory::default().failed(&never, Instant::now(), Some(90 * SECOND)), RestartDecision::Park);
    }

    #[test]
    fn waits_are_shortened_by_no_more_than_their_share() {
        let policy = RestartPolicy { jitter: 0.5, max_restarts: None, ..policy() };
        for _ in 0..100 {
            let RestartDecision::After(wait) = RestartHistory::default().failed(&policy, Instant::now(), None) else {
                panic!("it is parked")
            };
            assert!(wait <= SECOND && wait >= SECOND / 2, "{wait:?}");
        }
    }
}
