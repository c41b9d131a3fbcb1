//! The keys of `retry` in `[defaults]` and `[[worker]]`.

use crate::config::RetryPolicy;
use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::{DurationKind, IntegerKind, NumberKind};

const MOST_ATTEMPTS: u32 = 1_000;

pub(crate) static SECTION: ConfigSection = ConfigSection {
    heading: "`retry`",
    role: SectionRole::Nested,
    doc: "How often a job that failed is tried again, and how long it waits in between. A key that a `[[worker]]` leaves out is as in `[defaults]`.",
    example: "[defaults]\nretry = { delay = \"2s\", backoff = 2, max_delay = \"1m\", max_attempts = 5 }\n",
    keys: &[KEYS],
};

keys! {
    /// The keys of the table.
    KEYS of "`retry`";

    /// How long to wait before the second attempt.
    DELAY = "delay": DurationKind = DurationKind::FromZero, HasDefault(RetryPolicy::DEFAULT.delay), ByReplacement;

    /// The factor by which each wait is longer than the one before.
    BACKOFF = "backoff": NumberKind = NumberKind(1.0..=100.0), HasDefault(RetryPolicy::DEFAULT.backoff), ByReplacement;

    /// The longest wait.
    MAX_DELAY = "max_delay": DurationKind = DurationKind::FromZero, HasDefault(RetryPolicy::DEFAULT.max_delay), ByReplacement;

    /// The largest share by which a wait is shortened at random, so that jobs that failed together are not tried again together.
    JITTER = "jitter": NumberKind = NumberKind(0.0..=1.0), HasDefault(RetryPolicy::DEFAULT.jitter), ByReplacement;

    /// How often a job is tried in all.
    MAX_ATTEMPTS = "max_attempts": IntegerKind<u32> = IntegerKind(1..=MOST_ATTEMPTS), HasDefault(RetryPolicy::DEFAULT.max_attempts), ByReplacement;
}
