//! Workers and types that have left the bus, in bounded memory.

use std::collections::HashSet;

use mshost_core::ids::{Address, WorkerType};

/// Holds between `capacity / 2` and `capacity` of the latest addresses that left; all operations are O(1) amortised.
///
/// Two sets take turns: when the newer one is full, the older one is forgotten and the newer one becomes the older.
#[derive(Debug)]
pub(super) struct DepartedWorkers {
    newer: HashSet<Address>,
    older: HashSet<Address>,
    half: usize,
}

impl DepartedWorkers {
    pub(super) fn new(capacity: usize) -> Self {
        Self { newer: HashSet::new(), older: HashSet::new(), half: (capacity / 2).max(1) }
    }

    /// Remembers that `address` is departed. Returns the types that are forgotten for it, which is seldom any.
    pub(super) fn insert(&mut self, address: Address) -> Vec<WorkerType> {
        self.older.remove(&address);
        self.newer.insert(address);
        if self.newer.len() < self.half {
            return Vec::new();
        }
        let forgotten = std::mem::replace(&mut self.older, std::mem::take(&mut self.newer));
        forgotten
            .into_iter()
            .filter_map(|address| if let Address::Any(kind) = address { Some(kind) } else { None })
            .collect()
    }

    pub(super) fn remove(&mut self, address: &Address) {
        self.newer.remove(address);
        self.older.remove(address);
    }

    pub(super) fn contains(&self, address: &Address) -> bool {
        self.newer.contains(address) || self.older.contains(address)
    }

    /// The types among them.
    pub(super) fn types(&self) -> impl Iterator<Item = WorkerType> {
        let all = self.newer.iter().chain(&self.older);
        all.filter_map(|address| if let Address::Any(kind) = address { Some(kind.clone()) } else { None })
    }

    pub(super) fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn any(n: usize) -> Address {
        Address::new(&format!("T{n}:*")).unwrap()
    }

    #[test]
    fn the_latest_half_is_kept_and_the_whole_stays_bounded() {
        let mut departed = DepartedWorkers::new(10);
        let mut forgotten = 0;
        for n in 0..1_000 {
            forgotten += departed.insert(any(n)).len();
            assert!(departed.len() <= 10);
            for recent in n.saturating_sub(4)..=n {
                assert!(departed.contains(&any(recent)), "T{recent} forgotten after T{n}");
            }
        }
        assert_eq!(forgotten + departed.len(), 1_000, "each type is either remembered or reported as forgotten");
    }

    #[test]
    fn what_comes_back_is_not_gone() {
        let mut departed = DepartedWorkers::new(4);
        departed.insert(any(1));
        departed.insert(any(2));
        departed.remove(&any(1));
        assert!(!departed.contains(&any(1)));
        assert!(departed.contains(&any(2)));
    }
}
