//! What a load has seen.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Failures that are kept with their reasons; beyond, they are counted.
const MAX_FAILURES_KEPT: usize = 10_000;

/// The longest response time that is told apart from longer ones, in microseconds.
const MAX_MICROS: u64 = 60_000_000;

/// A request that failed.
#[derive(Debug, Clone)]
pub struct RequestFailure {
    /// When, from the start of the load.
    pub at: Duration,
    /// Why.
    pub reason: String,
}

/// The end of a load.
#[derive(Debug, Clone)]
pub struct LoadReport {
    /// How long it ran.
    pub elapsed: Duration,
    /// Requests that got what was expected.
    pub successes: u64,
    /// Requests that did not.
    pub failure_count: u64,
    /// Which ones and why; all of them up to the first ten thousand.
    pub failures: Vec<RequestFailure>,
    /// Every `x-served-by` that came.
    pub served_by: BTreeSet<String>,
    latencies: Histogram<u32>,
}

impl LoadReport {
    pub(super) fn new(elapsed: Duration, tally: LoadTally, live: &Live) -> Self {
        Self {
            elapsed,
            successes: live.successes(),
            failure_count: live.failures(),
            failures: lock(&live.kept).clone(),
            served_by: lock(&live.served_by).clone(),
            latencies: tally.latencies,
        }
    }

    /// Successful requests a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.successes as f64 / self.elapsed.as_secs_f64()
    }

    /// The response time that this share (0.0 to 1.0) of the successful requests did not exceed.
    #[must_use]
    pub fn latency(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latencies.value_at_quantile(quantile))
    }

    /// Panics with every reason where a request has failed, or where none was made.
    ///
    /// # Panics
    /// See above: it is an assertion of tests.
    pub fn assert_flawless(&self) {
        assert_eq!(self.failure_count, 0, "{self}");
        assert_ne!(self.successes, 0, "no request was made");
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests in {:.1?}: {:.0}/s, p50 {:?}, p99 {:?}, max {:?}; {} failed",
            self.successes + self.failure_count,
            self.elapsed,
            self.rate(),
            self.latency(0.5),
            self.latency(0.99),
            self.latency(1.0),
            self.failure_count,
        )?;
        for failure in &self.failures {
            write!(f, "\n  at {:.3?}: {}", failure.at, failure.reason)?;
        }
        match self.failure_count - self.failures.len() as u64 {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// What all connections share while they run.
#[derive(Debug, Default)]
pub(super) struct Live {
    successes: AtomicU64,
    failures: AtomicU64,
    kept: Mutex<Vec<RequestFailure>>,
    served_by: Mutex<BTreeSet<String>>,
}

impl Live {
    pub fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub fn was_served_by(&self, version: &str) -> bool {
        lock(&self.served_by).contains(version)
    }

    pub fn succeed(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
    }

    pub fn fail(&self, at: Duration, reason: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut kept = lock(&self.kept);
        if kept.len() < MAX_FAILURES_KEPT {
            kept.push(RequestFailure { at, reason });
        }
    }

    pub fn serve(&self, version: &str) {
        let mut served_by = lock(&self.served_by);
        if !served_by.contains(version) {
            served_by.insert(version.to_owned());
        }
    }
}

/// What one connection counts by itself.
#[derive(Debug)]
pub(super) struct LoadTally {
    latencies: Histogram<u32>,
}

impl Default for LoadTally {
    #[allow(clippy::expect_used, reason = "constant bounds, in a tool of the tests")]
    fn default() -> Self {
        Self { latencies: Histogram::new_with_bounds(1, MAX_MICROS, 3).expect("the bounds are well formed") }
    }
}

impl LoadTally {
    pub fn record(&mut self, latency: Duration) {
        self.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    #[allow(clippy::expect_used, reason = "equal bounds, in a tool of the tests")]
    pub fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("all tallies have the same bounds");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
