//! Libraries that stay in memory: each costs address space and memory for good, so there is a limit to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::LoadFailure;

/// How many keys for thread-locals are left alone: for the host's own threads, and for what plugins in memory still make.
const KEYS_IN_RESERVE: usize = 64;

/// How many libraries stay, of all plugins of a host, and how many may. Cloning shares the count.
#[derive(Debug, Clone)]
pub struct Kept {
    limit: usize,
    count: Arc<AtomicUsize>,
}

impl Kept {
    /// None so far.
    #[must_use]
    pub fn at_most(limit: usize) -> Self {
        Self { limit, count: Arc::default() }
    }

    /// Whether another version of a plugin may be loaded, which may have to stay as well.
    pub(super) fn check(&self) -> Result<(), LoadFailure> {
        let kept = self.count.load(Ordering::Relaxed);
        if kept < self.limit { Ok(()) } else { Err(LoadFailure::TooManyKept { kept, limit: self.limit }) }
    }

    /// Whether a process with so many free keys for thread-locals may load another version, which takes one at least.
    pub(super) fn check_keys(free: usize) -> Result<(), LoadFailure> {
        if free > KEYS_IN_RESERVE { Ok(()) } else { Err(LoadFailure::TooFewKeys { free, reserve: KEYS_IN_RESERVE }) }
    }

    /// One more stays.
    pub(super) fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_keys_are_for_what_is_loaded() {
        assert_eq!(Kept::check_keys(KEYS_IN_RESERVE + 1), Ok(()));
        let refused = Err(LoadFailure::TooFewKeys { free: KEYS_IN_RESERVE, reserve: KEYS_IN_RESERVE });
        assert_eq!(Kept::check_keys(KEYS_IN_RESERVE), refused);
    }
}
