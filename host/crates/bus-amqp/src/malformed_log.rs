//! Messages that are not what protocol.md says: counted each, logged once per kind and minute.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_core::metrics::Metrics;
use parking_lot::Mutex;
use tracing::warn;

/// How long a kind stays silent after it was logged.
const QUIET: Duration = Duration::from_secs(60);

/// What may stand around the data in a message: a pipeline of 64 addresses takes a fifth of it.
const ENVELOPE_BYTES: usize = 64 << 10;

/// Counts and logs malformed messages. Kinds are few and fixed, so the map is small.
pub(super) struct MalformedLog {
    metrics: Arc<Metrics>,
    /// The most bytes that a message may have.
    limit: usize,
    logged: Mutex<HashMap<(&'static str, &'static str), Instant>>,
}

impl MalformedLog {
    /// Nothing yet; `message_bytes` is the most data that a job may have.
    pub(super) fn new(metrics: Arc<Metrics>, message_bytes: usize) -> Self {
        Self { metrics, limit: message_bytes.saturating_add(ENVELOPE_BYTES), logged: Mutex::default() }
    }

    /// Whether a body is worth reading: what is larger than any job of ours may be is dropped unread.
    pub(super) fn is_readable(&self, source: &'static str, body: &[u8]) -> bool {
        let (size, limit) = (body.len(), self.limit);
        if size > limit {
            self.report(source, "too_large", &format!("it has {size} bytes, and `bus.max_message` allows for {limit}"));
        }
        size <= limit
    }

    /// A message of this `source` (`job`, `notification`) was dropped.
    pub(super) fn report(&self, source: &'static str, kind: &'static str, reason: &str) {
        self.metrics.malformed.with_label_values(&[source, kind]).inc();
        let now = Instant::now();
        let mut logged = self.logged.lock();
        if logged.get(&(source, kind)).is_none_or(|last| now.duration_since(*last) >= QUIET) {
            logged.insert((source, kind), now);
            drop(logged);
            warn!(target: "mshost::bus", "refused a malformed {source}: {reason} (more of this kind are only counted for a minute)");
        }
    }
}
