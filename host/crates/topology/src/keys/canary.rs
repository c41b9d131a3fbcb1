//! The keys of `canary` in `[host]`.

use crate::config::CanaryConfig;
use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::{DurationKind, IntegerKind, NumberKind};

pub(crate) static SECTION: ConfigSection = ConfigSection {
    heading: "`canary`",
    role: SectionRole::Nested,
    doc: "How a new version of a plugin is tried beside the old one, for all workers of the plugin together.",
    example: "[host]\ncanary = { share = 0.1, for = \"30s\", min_jobs = 20, tolerance = 0.05 }\n",
    keys: &[KEYS],
};

keys! {
    /// The keys of the table.
    KEYS of "`canary`";

    /// The largest share of each slot's jobs that the new version gets.
    SHARE = "share": NumberKind = NumberKind(0.001..=0.9), HasDefault(CanaryConfig::DEFAULT.share), AtRestart;

    /// How long the new version is tried.
    FOR = "for": DurationKind = DurationKind::Positive, HasDefault(CanaryConfig::DEFAULT.span), AtRestart;

    /// Before so many attempts of the new version nothing is decided; a version that has had fewer in the end is accepted.
    MIN_JOBS = "min_jobs": IntegerKind<u64> = IntegerKind(1..=1_000_000_000), HasDefault(CanaryConfig::DEFAULT.min_jobs), AtRestart;

    /// By how much the new version's share of failed attempts may be above the old version's.
    TOLERANCE = "tolerance": NumberKind = NumberKind(0.0..=1.0), HasDefault(CanaryConfig::DEFAULT.tolerance), AtRestart;
}
