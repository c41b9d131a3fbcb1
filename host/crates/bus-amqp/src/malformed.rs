//! Messages that are not what protocol.md says: counted each, logged once per kind and minute.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_core::metrics::Metrics;
use parking_lot::Mutex;
use tracing::warn;

use super::Shared;

/// How long a kind stays silent after it was logged.
const QUIET: Duration = Duration::from_secs(60);

/// What may stand around the data in a message: a pipeline of 64 addresses takes a fifth of it.
const ENVELOPE_BYTES: usize = 64 << 10;

/// Whether a body is worth reading: what is larger than any job of ours may be is dropped unread.
pub(super) fn is_readable(shared: &Shared, source: &'static str, body: &[u8]) -> bool {
    let (size, limit) = (body.len(), shared.limits.message_bytes.saturating_add(ENVELOPE_BYTES));
    if size > limit {
        let reason = format!("it has {size} bytes, and `bus.max_message` allows for {limit}");
        shared.malformed.report(source, "too_large", &reason);
    }
    size <= limit
}

/// Counts and logs malformed messages. Kinds are few and fixed, so the map is small.
pub(super) struct MalformedLog {
    metrics: Arc<Metrics>,
    logged: Mutex<HashMap<(&'static str, &'static str), Instant>>,
}

impl MalformedLog {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, logged: Mutex::default() }
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
