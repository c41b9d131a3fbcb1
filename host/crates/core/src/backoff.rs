//! How long to wait before something is tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Waits that double up to a limit, each shortened at random by up to a share of it, so that those who failed together do
/// not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    jitter: f64,
    next: Duration,
}

impl Backoff {
    /// From `first` to `longest`; `jitter` is the share, from 0 to 1, that a wait may be shortened by.
    #[must_use]
    pub fn new(first: Duration, longest: Duration, jitter: f64) -> Self {
        Self { first, longest, jitter, next: first }
    }

    /// The wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.longest);
        shortened(full, self.jitter)
    }

    /// All is well again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A wait, shortened at random by up to a share of it, from 0 to 1.
#[must_use]
pub fn shortened(full: Duration, share: f64) -> Duration {
    // Each `RandomState` is seeded at random: randomness enough for jitter.
    let random = (RandomState::new().hash_one(full) % 1_024) as f64 / 1_024.0;
    full - full.mul_f64(random * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn waits_grow_to_their_limit_and_are_shortened_by_no_more_than_their_share() {
        for jitter in [0.25, 0.5] {
            let mut backoff = Backoff::new(FIRST, LONGEST, jitter);
            let mut full = FIRST;
            for _ in 0..20 {
                let wait = backoff.next_wait();
                assert!(wait <= full && wait >= full.mul_f64(1.0 - jitter), "{wait:?} of {full:?}");
                full = (full * 2).min(LONGEST);
            }
            assert_eq!(full, LONGEST);
            backoff.reset();
            assert!(backoff.next_wait() <= FIRST);
        }
    }
}
