//! How often jobs are tried again, and workers started again.

use std::time::Duration;

/// How often a job that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RetryPolicy {
    /// How long to wait before the second attempt.
    pub delay: Duration,
    /// By what each wait is longer than the one before.
    pub backoff: f64,
    /// The longest wait.
    pub max_delay: Duration,
    /// The share, from 0 to 1, by which a wait is shortened at random, so that jobs that failed together do not come back
    /// together.
    pub jitter: f64,
    /// How often it is tried in all.
    pub max_attempts: u32,
}

impl RetryPolicy {
    /// What holds where the topology says nothing: as in MicroServices.js, with some jitter.
    pub const DEFAULT: Self = Self {
        delay: Duration::from_secs(2),
        backoff: 1.0,
        max_delay: Duration::from_secs(60),
        jitter: 0.1,
        max_attempts: 5,
    };
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl RetryPolicy {
    /// How long to wait after the attempt of this number, the first being 1.
    #[must_use]
    pub fn wait_after(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.delay.as_secs_f64() * self.backoff.powi(exponent);
        // Infinite and not-a-number fall to the limit, too.
        let full = Duration::try_from_secs_f64(seconds).map_or(self.max_delay, |wait| wait.min(self.max_delay));
        mshost_core::backoff::shortened(full, self.jitter)
    }
}

/// How often a worker that failed is started again.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RestartPolicy {
    /// How long to wait before a second restart; each further wait is twice as long.
    pub delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
    /// The share, from 0 to 1, by which a wait is shortened at random.
    pub jitter: f64,
    /// How many restarts there may be within `window` before its slot is parked; `None` where it is `"off"`, so that it
    /// never is.
    pub max_restarts: Option<u32>,
    /// What `max_restarts` counts in; also how long a worker must have run for its next failure to count as its first.
    pub window: Duration,
}

impl RestartPolicy {
    /// What holds where the topology says nothing: about two minutes of trying.
    pub const DEFAULT: Self = Self {
        delay: Duration::from_millis(500),
        max_delay: Duration::from_secs(30),
        jitter: 0.25,
        max_restarts: Some(10),
        window: Duration::from_secs(300),
    };
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What becomes of the jobs of a type whose workers are all parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum ParkedJobs {
    /// Those that were accepted wait, at most until their deadline; whether more are accepted is what `absent` in `[bus]` says.
    #[default]
    Wait,
    /// Each is given up at once: its sender hears why, and it is kept as a dead letter.
    Fail,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_are_shortened_by_no_more_than_their_share() {
        let (delay, max_delay) = (Duration::from_secs(1), Duration::from_secs(10));
        let policy = RetryPolicy { delay, backoff: 2.0, max_delay, jitter: 0.5, max_attempts: 9 };
        for (attempt, full) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (u32::MAX, 10)] {
            let (wait, full) = (policy.wait_after(attempt), Duration::from_secs(full));
            assert!(wait <= full && wait >= full / 2, "{wait:?} after attempt {attempt}");
        }
        let original = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
        assert_eq!([1, 2, 5].map(|attempt| original.wait_after(attempt)), [Duration::from_secs(2); 3]);
    }
}
