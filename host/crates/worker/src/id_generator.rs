//! Generates ids of workers and jobs. MicroServices.js stamps them with milliseconds alone, which collide under load; these
//! carry a suffix.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use mshost_core::ids::{JobId, WorkerId, WorkerType};
use mshost_plugin_api::NameError;

/// Tells the ids of this process from those of every other: two processes on one machine differ in pid, two machines in
/// the clock's nanoseconds at their first id.
static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    format!("{:x}{nanos:x}", std::process::id())
});
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A worker id that no other worker has: `WB:1460306476102-SUFFIX`.
///
/// # Errors
/// Where the type is so long that the id would not fit the bus.
pub fn new_worker_id(kind: &WorkerType) -> Result<WorkerId, NameError> {
    WorkerId::new(&format!("{kind}:{}", stamp()))
}

/// A job id that no other job has: `J1460306476102-SUFFIX`.
pub(super) fn new_job_id() -> JobId {
    #[expect(clippy::expect_used, reason = "a stamp holds digits, hex digits and `-` only, and is far below the limit")]
    JobId::new(&format!("J{}", stamp())).expect("a stamp is a name")
}

fn stamp() -> String {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    // 13 digits from 2001 to 2286.
    format!("{millis:013}-{}-{count:x}", *PROCESS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_within_one_millisecond() {
        let ids: HashSet<_> = (0..10_000).map(|_| new_job_id()).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn a_worker_id_is_what_the_original_accepts() {
        let kind = WorkerType::new("WB").unwrap();
        let id = new_worker_id(&kind).unwrap();
        let digits = id.strip_prefix("WB:").unwrap();
        assert!(digits.bytes().take(13).all(|b| b.is_ascii_digit()), "{id}");
        assert_eq!(id.worker_type(), kind);
    }
}
