//! Limit on libraries that cannot be unloaded: each costs address space and memory for as long as the host runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::load_error::LoadFailure;

/// How many pthread keys are reserved for the host's own threads and for plugins that are loaded already.
const RESERVED_KEYS: usize = 64;

/// Count of the libraries, of all plugins of a host, that stay mapped, and its limit (`host.mapped_limit`). Clones share it.
#[derive(Debug, Clone)]
pub struct MappedLibraries {
    limit: usize,
    count: Arc<AtomicUsize>,
}

impl MappedLibraries {
    /// No library yet, of at most `limit`.
    #[must_use]
    pub fn at_most(limit: usize) -> Self {
        Self { limit, count: Arc::default() }
    }

    /// Fails at the limit: another version of a plugin may have to stay mapped, too.
    pub(crate) fn check(&self) -> Result<(), LoadFailure> {
        let mapped = self.count.load(Ordering::Relaxed);
        if mapped < self.limit { Ok(()) } else { Err(LoadFailure::TooManyMapped { mapped, limit: self.limit }) }
    }

    /// Fails where too few pthread keys are free for another version, which takes at least one.
    pub(crate) fn check_keys(free: usize) -> Result<(), LoadFailure> {
        if free > RESERVED_KEYS { Ok(()) } else { Err(LoadFailure::TooFewKeys { free, reserve: RESERVED_KEYS }) }
    }

    /// Counts one more library that stays mapped.
    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_keys_are_for_what_is_loaded() {
        assert_eq!(MappedLibraries::check_keys(RESERVED_KEYS + 1), Ok(()));
        let refused = Err(LoadFailure::TooFewKeys { free: RESERVED_KEYS, reserve: RESERVED_KEYS });
        assert_eq!(MappedLibraries::check_keys(RESERVED_KEYS), refused);
    }
}
