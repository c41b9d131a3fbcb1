//! How long to wait before a worker is started again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// A worker that ran for so long starts anew with the shortest wait.
pub(super) const STEADY: Duration = Duration::from_secs(60);

/// Doubles from half a second to half a minute, each wait shortened by up to a quarter, so that workers that failed
/// together do not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Each `RandomState` is seeded at random: randomness enough for jitter.
        let jitter = RandomState::new().hash_one(self.failures) % 256;
        wait - wait.mul_f64(jitter as f64 / 1024.0)
    }

    /// All is well again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_in_bounds() {
        let mut backoff = Backoff::default();
        let first = backoff.next();
        assert!(first <= FIRST && first >= FIRST.mul_f64(0.75));
        let later = (0..20).map(|_| backoff.next()).last().unwrap_or_default();
        assert!(later <= LONGEST && later >= LONGEST.mul_f64(0.75));
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
