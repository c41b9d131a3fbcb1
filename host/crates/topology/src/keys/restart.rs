//! The keys of `restart` in `[defaults]` and `[[worker]]`.

use crate::config::RestartPolicy;
use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::{DurationKind, NumberKind, RestartLimitKind};

/// Each restart is remembered for as long as `window`.
const MOST_RESTARTS: u32 = 1_000;

pub(crate) static SECTION: ConfigSection = ConfigSection {
    heading: "`restart`",
    role: SectionRole::Nested,
    doc: "How often a worker that failed is started again before its slot is parked. The first restart comes at once. A key that a \
          `[[worker]]` leaves out is as in `[defaults]`.",
    example: "[defaults]\nrestart = { delay = \"500ms\", max_delay = \"30s\", max_restarts = 10, window = \"5m\" }\n",
    keys: &[KEYS],
};

keys! {
    /// The keys of the table.
    KEYS of "`restart`";

    /// How long to wait before the second restart; each further wait is twice as long.
    DELAY = "delay": DurationKind = DurationKind::FromZero, HasDefault(RestartPolicy::DEFAULT.delay), ByReplacement;

    /// The longest wait.
    MAX_DELAY = "max_delay": DurationKind = DurationKind::FromZero, HasDefault(RestartPolicy::DEFAULT.max_delay), ByReplacement;

    /// The largest share by which a wait is shortened at random.
    JITTER = "jitter": NumberKind = NumberKind(0.0..=1.0), HasDefault(RestartPolicy::DEFAULT.jitter), ByReplacement;

    /// How many restarts there may be within `window` before the slot is parked; `"off"` never parks it.
    MAX_RESTARTS = "max_restarts": RestartLimitKind = RestartLimitKind(MOST_RESTARTS), HasDefault(RestartPolicy::DEFAULT.max_restarts), ByReplacement;

    /// The time in which `max_restarts` counts; also how long a worker must have run for its next failure to count as its first.
    WINDOW = "window": DurationKind = DurationKind::Positive, HasDefault(RestartPolicy::DEFAULT.window), ByReplacement;
}
