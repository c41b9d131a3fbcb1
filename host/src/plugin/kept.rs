//! Libraries that stay in memory: each costs address space and memory for good, so there is a limit to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::LoadFailure;

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

    /// One more stays.
    pub(super) fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}
