//! Whether a child still does what it should, looked at once a second.
//!
//! Counted in looks and not by the clock: a host that was stopped for a while must not take its children for stuck.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mshost_topology::WorkerSpec;

/// Between two looks.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// How many looks longer than its limits a child may take.
const GRACE: u64 = 5;

/// How many looks a child may take to end once it has nothing more to say.
const LINGER: u64 = 15;

/// See the module.
pub(super) struct Watch {
    start: u64,
    silence: u64,
    stop: u64,
    /// What was asked last.
    asked: u64,
    silent: u64,
    starting: u64,
    stopping: u64,
    lingering: u64,
}

/// Where a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Running,
    /// It has been told to stop.
    Stopping,
    /// It has said its last word.
    Leaving,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Ask it whether it is still there.
    Ask(u64),
    Nothing,
    /// Kill it, for this reason.
    Kill(String),
}

impl Watch {
    pub(super) fn new(spec: &WorkerSpec, load_limit: Duration) -> Self {
        Self {
            start: looks(load_limit + spec.start_timeout) + GRACE,
            silence: looks(spec.timeout) + GRACE,
            stop: looks(spec.drain_timeout) + 2 * GRACE,
            asked: 0,
            silent: 0,
            starting: 0,
            stopping: 0,
            lingering: 0,
        }
    }

    /// Looks. `answered` is the last question that was answered.
    pub(super) fn look(&mut self, phase: Phase, answered: &AtomicU64) -> Look {
        match phase {
            Phase::Starting => {
                self.starting += 1;
                return over(self.starting, self.start, "did not start");
            }
            Phase::Leaving => {
                self.lingering += 1;
                return over(self.lingering, LINGER, "did not end");
            }
            Phase::Stopping => {
                self.stopping += 1;
                if self.stopping > self.stop {
                    return over(self.stopping, self.stop, "did not stop");
                }
            }
            Phase::Running => {}
        }
        if answered.load(Ordering::Relaxed) == self.asked {
            self.asked += 1;
            self.silent = 0;
            return Look::Ask(self.asked);
        }
        self.silent += 1;
        match over(self.silent, self.silence, "did nothing else") {
            Look::Kill(why) => {
                Look::Kill(format!("{why}: a handler that neither ends nor waits, as in an endless loop?"))
            }
            other => other,
        }
    }
}

fn over(looks: u64, limit: u64, what: &str) -> Look {
    if looks > limit { Look::Kill(format!("it {what} for {limit} s")) } else { Look::Nothing }
}

fn looks(limit: Duration) -> u64 {
    limit.as_secs() + u64::from(limit.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn watch() -> Watch {
        let text = "[[worker]]\ntype = 'W'\nplugin = 'p'\ntimeout = '3s'\nstart_timeout = '2s'\ndrain_timeout = '4s'\n";
        let topology = mshost_topology::parse("t.toml".as_ref(), text, &|_| None).unwrap();
        let plan = mshost_topology::plan(&topology, &std::collections::BTreeMap::new());
        let (_, planned) = plan.iter().next().unwrap();
        Watch::new(&planned.spec, Duration::from_secs(1))
    }

    /// How many looks go by before it is killed, and why.
    fn killed_after(phase: Phase, answer: bool) -> Option<(u64, String)> {
        let (mut watch, answered) = (watch(), AtomicU64::new(0));
        for look in 1..=100 {
            match watch.look(phase, &answered) {
                Look::Ask(question) if answer => answered.store(question, Ordering::Relaxed),
                Look::Ask(_) | Look::Nothing => {}
                Look::Kill(why) => return Some((look, why)),
            }
        }
        None
    }

    #[test]
    fn a_child_that_answers_is_left_alone() {
        assert_eq!(killed_after(Phase::Running, true), None);
    }

    #[test]
    fn one_that_does_not_is_killed_beyond_the_timeout_of_its_jobs() {
        let (looks, why) = killed_after(Phase::Running, false).unwrap();
        // One look to ask, and one beyond the limit.
        assert_eq!(looks, 3 + GRACE + 2);
        assert!(why.contains("endless loop"), "{why}");
    }

    #[test]
    fn starting_stopping_and_leaving_have_limits_of_their_own() {
        assert_eq!(killed_after(Phase::Starting, true).unwrap().0, 1 + 2 + GRACE + 1);
        assert_eq!(killed_after(Phase::Stopping, true).unwrap().0, 4 + 2 * GRACE + 1);
        assert_eq!(killed_after(Phase::Leaving, true).unwrap().0, LINGER + 1);
    }
}
