//! Liveness of a child, checked once a second.
//!
//! Counted in checks and not by the clock: a host that was stopped for a while must not take its children for stuck.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mshost_topology::WorkerSpec;

/// The time between two checks.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How many checks longer than its limits a child may take.
const GRACE: u64 = 5;

/// How many checks a child may take to exit once its worker has ended.
const LINGER: u64 = 15;

/// The check of one child.
pub(super) struct LivenessCheck {
    start: u64,
    silence: u64,
    stop: u64,
    /// The last ping that was sent.
    last_ping: u64,
    silent: u64,
    starting: u64,
    stopping: u64,
    lingering: u64,
}

/// The phase of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChildPhase {
    Starting,
    Running,
    /// It was asked to stop.
    Stopping,
    /// Its worker has ended.
    Leaving,
}

/// What the host does after a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LivenessAction {
    /// Send this ping.
    Ping(u64),
    Nothing,
    /// Kill it, for this reason.
    Kill(String),
}

impl LivenessCheck {
    pub(super) fn new(spec: &WorkerSpec, load_limit: Duration) -> Self {
        Self {
            start: checks(load_limit + spec.start_timeout) + GRACE,
            silence: checks(spec.timeout) + GRACE,
            stop: checks(spec.drain_timeout) + 2 * GRACE,
            last_ping: 0,
            silent: 0,
            starting: 0,
            stopping: 0,
            lingering: 0,
        }
    }

    /// Checks once. `last_pong` is the last ping that was answered.
    pub(super) fn check(&mut self, phase: ChildPhase, last_pong: &AtomicU64) -> LivenessAction {
        match phase {
            ChildPhase::Starting => {
                self.starting += 1;
                return over(self.starting, self.start, "did not start");
            }
            ChildPhase::Leaving => {
                self.lingering += 1;
                return over(self.lingering, LINGER, "did not end");
            }
            ChildPhase::Stopping => {
                self.stopping += 1;
                if self.stopping > self.stop {
                    return over(self.stopping, self.stop, "did not stop");
                }
            }
            ChildPhase::Running => {}
        }
        if last_pong.load(Ordering::Relaxed) == self.last_ping {
            self.last_ping += 1;
            self.silent = 0;
            return LivenessAction::Ping(self.last_ping);
        }
        self.silent += 1;
        match over(self.silent, self.silence, "did nothing else") {
            LivenessAction::Kill(why) => {
                LivenessAction::Kill(format!("{why}: a handler that neither ends nor waits, as in an endless loop?"))
            }
            other => other,
        }
    }
}

fn over(checks: u64, limit: u64, what: &str) -> LivenessAction {
    if checks > limit { LivenessAction::Kill(format!("it {what} for {limit} s")) } else { LivenessAction::Nothing }
}

fn checks(limit: Duration) -> u64 {
    limit.as_secs() + u64::from(limit.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn liveness() -> LivenessCheck {
        let text = "[[worker]]\ntype = 'W'\nplugin = 'p'\ntimeout = '3s'\nstart_timeout = '2s'\ndrain_timeout = '4s'\n";
        let topology = mshost_topology::parse("t.toml".as_ref(), text, &|_| None).unwrap();
        let plan = mshost_topology::plan(&topology, &std::collections::BTreeMap::new());
        let (_, planned) = plan.iter().next().unwrap();
        LivenessCheck::new(&planned.spec, Duration::from_secs(1))
    }

    /// How many checks go by before it is killed, and why.
    fn killed_after(phase: ChildPhase, answer: bool) -> Option<(u64, String)> {
        let (mut liveness, last_pong) = (liveness(), AtomicU64::new(0));
        for check in 1..=100 {
            match liveness.check(phase, &last_pong) {
                LivenessAction::Ping(question) if answer => last_pong.store(question, Ordering::Relaxed),
                LivenessAction::Ping(_) | LivenessAction::Nothing => {}
                LivenessAction::Kill(why) => return Some((check, why)),
            }
        }
        None
    }

    #[test]
    fn a_child_that_answers_is_left_alone() {
        assert_eq!(killed_after(ChildPhase::Running, true), None);
    }

    #[test]
    fn one_that_does_not_is_killed_beyond_the_timeout_of_its_jobs() {
        let (checks, why) = killed_after(ChildPhase::Running, false).unwrap();
        // One check to ask, and one beyond the limit.
        assert_eq!(checks, 3 + GRACE + 2);
        assert!(why.contains("endless loop"), "{why}");
    }

    #[test]
    fn starting_stopping_and_leaving_have_limits_of_their_own() {
        assert_eq!(killed_after(ChildPhase::Starting, true).unwrap().0, 1 + 2 + GRACE + 1);
        assert_eq!(killed_after(ChildPhase::Stopping, true).unwrap().0, 4 + 2 * GRACE + 1);
        assert_eq!(killed_after(ChildPhase::Leaving, true).unwrap().0, LINGER + 1);
    }
}
