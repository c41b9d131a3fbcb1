//! The verdict of a canary evaluation, computed from counts of attempts.

use std::collections::BTreeMap;

use mshost_core::ids::WorkerType;
use mshost_topology::CanaryConfig;
use mshost_worker::Progress;

/// What has been decided about a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CanaryVerdict {
    /// It is as good as the one before, as far as could be measured; with the numbers.
    Accepted(String),
    /// It is worse, did not start, or a worker of it died; with the reason.
    Rejected(String),
}

/// Attempts of workers, and how many of them failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct AttemptCounts {
    all: u64,
    failed: u64,
}

/// The counts of one worker type: those of the new version, and those of the old one over the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ComparedCounts {
    pub(super) new: AttemptCounts,
    pub(super) old: AttemptCounts,
}

/// The verdict on these counts; `None` where it is too early. One type that is worse is enough to reject the version.
pub(super) fn judge(
    rules: &CanaryConfig,
    types: &BTreeMap<WorkerType, ComparedCounts>,
    is_over: bool,
) -> Option<CanaryVerdict> {
    let is_worse = |ComparedCounts { new, old }: &ComparedCounts| {
        new.all >= rules.min_jobs && new.failure_rate() > old.failure_rate() + rules.tolerance
    };
    if let Some((kind, ComparedCounts { new, old })) = types.iter().find(|(_, counts)| is_worse(counts)) {
        let why = format!("of {kind}, {new} attempts failed, and of the version before {old}");
        return Some(CanaryVerdict::Rejected(why));
    }
    let numbers = |(kind, ComparedCounts { new, old }): (&WorkerType, &ComparedCounts)| {
        format!("{kind}: {new} attempts failed, before {old}")
    };
    is_over.then(|| CanaryVerdict::Accepted(types.iter().map(numbers).collect::<Vec<_>>().join("; ")))
}

impl AttemptCounts {
    /// What a worker has done so far.
    pub(super) fn of(progress: &Progress) -> Self {
        let failed = progress.failed();
        Self { all: progress.done() + failed, failed }
    }

    /// Adds the counts of another worker.
    pub(super) fn add(&mut self, other: Self) {
        self.all += other.all;
        self.failed += other.failed;
    }

    /// What was added since `before`, which is an earlier count of the same worker.
    pub(super) fn since(self, before: Self) -> Self {
        Self { all: self.all - before.all, failed: self.failed - before.failed }
    }

    fn failure_rate(self) -> f64 {
        // Far below 2^53.
        if self.all == 0 { 0.0 } else { self.failed as f64 / self.all as f64 }
    }
}

impl std::fmt::Display for AttemptCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.failed, self.all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn numbers(new: (u64, u64), old: (u64, u64)) -> BTreeMap<WorkerType, ComparedCounts> {
        let attempts = |(failed, all)| AttemptCounts { all, failed };
        BTreeMap::from([(WorkerType::new("WB").unwrap(), ComparedCounts { new: attempts(new), old: attempts(old) })])
    }

    #[test]
    fn a_version_is_rejected_as_soon_as_it_is_worse_by_more_than_the_tolerance() {
        let rules = CanaryConfig::default();
        for (new, old, is_worse) in [
            ((0, 1_000), (0, 9_000), false),
            ((1, 20), (0, 180), false),
            ((2, 20), (0, 180), true),
            // Too few to say.
            ((19, 19), (0, 180), false),
            // Both fail.
            ((10, 20), (90, 180), false),
            ((20, 20), (90, 180), true),
            // The old version had no jobs.
            ((20, 20), (0, 0), true),
        ] {
            for is_over in [false, true] {
                let verdict = judge(&rules, &numbers(new, old), is_over);
                let rejected = matches!(verdict, Some(CanaryVerdict::Rejected(_)));
                assert_eq!((rejected, verdict.is_some()), (is_worse, is_worse || is_over), "{new:?} {old:?}");
            }
        }
    }

    #[test]
    fn one_bad_type_is_enough() {
        let mut types = numbers((0, 100), (0, 100));
        types.insert(
            WorkerType::new("WC").unwrap(),
            ComparedCounts { new: AttemptCounts { all: 30, failed: 30 }, ..ComparedCounts::default() },
        );
        let verdict = judge(&CanaryConfig::default(), &types, false);
        let why = "of WC, 30 of 30 attempts failed, and of the version before 0 of 0";
        assert_eq!(verdict, Some(CanaryVerdict::Rejected(why.to_owned())));
    }
}
