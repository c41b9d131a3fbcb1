//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer, or the limit has passed.
pub fn poll<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if began.elapsed() > limit {
            return None;
        }
        // The pause between two looks, not the wait itself.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// As [`poll`].
///
/// # Panics
/// Where the limit has passed.
pub fn until<T>(what: &str, limit: Duration, condition: impl FnMut() -> Option<T>) -> T {
    poll(limit, condition).unwrap_or_else(|| panic!("waited {limit:?} in vain for {what}"))
}

/// Lets the other tasks of a multi-threaded runtime go on meanwhile.
pub(crate) fn blocking<T>(f: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(f),
        _ => f(),
    }
}
