//! What must happen for what runs to become what should.

use std::fmt;
use std::time::Duration;

use mshost_core::ids::GenerationId;

use super::config::Isolation;
use super::plan::{Plan, Planned, Slot, WorkerSpec};

/// One step from the running plan to the wanted one. The steps do not depend on each other.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Nothing runs in the slot: start it.
    Start {
        /// Where.
        slot: Slot,
        /// What.
        to: Planned,
    },
    /// The slot is no more: drain and stop what runs in it.
    Stop {
        /// Where.
        slot: Slot,
    },
    /// Start the new one, then drain the old one.
    Swap {
        /// Where.
        slot: Slot,
        /// What.
        to: Planned,
        /// Why.
        reasons: Vec<Reason>,
    },
    /// The slot waits for its plugin: note what it waits with; should anything run in it, drain and stop that.
    Wait {
        /// Where.
        slot: Slot,
        /// What will start once its plugin is there.
        to: Planned,
    },
}

impl Change {
    /// The slot that changes.
    #[must_use]
    pub fn slot(&self) -> &Slot {
        match self {
            Self::Start { slot, .. } | Self::Stop { slot } | Self::Swap { slot, .. } | Self::Wait { slot, .. } => slot,
        }
    }
}

/// For logs: `swap WB[0]: concurrency 64 → 8, config`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { slot, .. } => write!(f, "start {slot}"),
            Self::Stop { slot } => write!(f, "stop {slot}"),
            Self::Wait { slot, .. } => write!(f, "{slot} waits for plugin {}", slot.plugin),
            Self::Swap { slot, reasons, .. } => {
                let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
                write!(f, "swap {slot}: {}", reasons.join(", "))
            }
        }
    }
}

/// Why an instance is swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its plugin has another generation.
    NewGeneration {
        /// What runs.
        from: GenerationId,
        /// What should.
        to: GenerationId,
    },
    /// `[bus]`: it moves to another.
    Bus,
    /// `[worker.config]`. Neither is shown: they may hold secrets.
    Config,
    /// `concurrency`.
    Concurrency {
        /// What runs.
        from: u16,
        /// What should.
        to: u16,
    },
    /// `timeout`.
    Timeout {
        /// What runs.
        from: Duration,
        /// What should.
        to: Duration,
    },
    /// `retry`.
    Retry,
    /// `durability`.
    Durability,
    /// `deadline`.
    Deadline,
    /// `start_timeout`.
    StartTimeout {
        /// What runs.
        from: Duration,
        /// What should.
        to: Duration,
    },
    /// `drain_timeout`.
    DrainTimeout {
        /// What runs.
        from: Duration,
        /// What should.
        to: Duration,
    },
    /// `restart`.
    Restart,
    /// `parked`.
    Parked,
    /// `abandoned_threads`.
    AbandonedThreads {
        /// What runs.
        from: u32,
        /// What should.
        to: u32,
    },
    /// `listen`.
    Listen,
    /// `sandbox`.
    Sandbox,
    /// `isolation` or its `limits`.
    Isolation {
        /// What runs.
        from: Isolation,
        /// What should.
        to: Isolation,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = humantime::format_duration;
        match *self {
            Self::NewGeneration { from, to } => write!(f, "generation {from} → {to}"),
            Self::Bus => f.write_str("bus"),
            Self::Config => f.write_str("config"),
            Self::Concurrency { from, to } => write!(f, "concurrency {from} → {to}"),
            Self::Timeout { from, to } => write!(f, "timeout {} → {}", time(from), time(to)),
            Self::Retry => f.write_str("retry"),
            Self::Durability => f.write_str("durability"),
            Self::Deadline => f.write_str("deadline"),
            Self::StartTimeout { from, to } => write!(f, "start_timeout {} → {}", time(from), time(to)),
            Self::DrainTimeout { from, to } => write!(f, "drain_timeout {} → {}", time(from), time(to)),
            Self::Restart => f.write_str("restart"),
            Self::Parked => f.write_str("parked"),
            Self::AbandonedThreads { from, to } => write!(f, "abandoned_threads {from} → {to}"),
            Self::Listen => f.write_str("listen"),
            Self::Sandbox => f.write_str("sandbox"),
            Self::Isolation { from: Isolation::Process(_), to: Isolation::Process(_) } => f.write_str("limits"),
            Self::Isolation { from, to } => write!(f, "isolation {from} → {to}"),
        }
    }
}

impl Plan {
    /// Notes that a change has been made. What [`diff`](diff()) gives, applied one by one, leads from the running
    /// plan to the wanted one.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Start { slot, to } | Change::Swap { slot, to, .. } | Change::Wait { slot, to } => {
                self.0.insert(slot.clone(), to.clone());
            }
            Change::Stop { slot } => {
                self.0.remove(slot);
            }
        }
    }
}

/// The changes that lead from what runs to what is wanted: first what goes, then what changes or comes, each in order of
/// its slot. Empty where both are equal.
#[must_use]
pub fn diff(running: &Plan, wanted: &Plan) -> Vec<Change> {
    let gone = running.iter().filter(|(slot, _)| wanted.get(slot).is_none());
    let gone = gone.map(|(slot, _)| Change::Stop { slot: slot.clone() });
    gone.chain(wanted.iter().filter_map(|(slot, to)| change(slot, running.get(slot), to))).collect()
}

fn change(slot: &Slot, from: Option<&Planned>, to: &Planned) -> Option<Change> {
    if from == Some(to) {
        return None;
    }
    let (slot, to) = (slot.clone(), to.clone());
    Some(match (from.and_then(|from| Some((from, from.generation?))), to.generation) {
        (_, None) => Change::Wait { slot, to },
        (None, Some(_)) => Change::Start { slot, to },
        (Some((from, old)), Some(new)) => {
            let moves = (from.bus != to.bus).then_some(Reason::Bus);
            let reasons = moves.into_iter().chain(reasons(&from.spec, &to.spec, old, new)).collect();
            Change::Swap { slot, to, reasons }
        }
    })
}

/// The destructuring makes a new field of [`WorkerSpec`] an error here until it has its reason.
fn reasons(from: &WorkerSpec, to: &WorkerSpec, old: GenerationId, new: GenerationId) -> Vec<Reason> {
    let WorkerSpec {
        slot: _,
        plugin: _,
        worker_type: _,
        concurrency,
        timeout,
        retry,
        durability,
        deadline,
        start_timeout,
        drain_timeout,
        restart,
        parked,
        abandoned_threads,
        listen,
        isolation,
        sandbox,
        config,
    } = to;
    let candidates = [
        (old != new, Reason::NewGeneration { from: old, to: new }),
        (from.config != *config, Reason::Config),
        (from.concurrency != *concurrency, Reason::Concurrency { from: from.concurrency, to: *concurrency }),
        (from.timeout != *timeout, Reason::Timeout { from: from.timeout, to: *timeout }),
        (from.retry != *retry, Reason::Retry),
        (from.durability != *durability, Reason::Durability),
        (from.deadline != *deadline, Reason::Deadline),
        (from.start_timeout != *start_timeout, Reason::StartTimeout { from: from.start_timeout, to: *start_timeout }),
        (from.drain_timeout != *drain_timeout, Reason::DrainTimeout { from: from.drain_timeout, to: *drain_timeout }),
        (from.restart != *restart, Reason::Restart),
        (from.parked != *parked, Reason::Parked),
        (
            from.abandoned_threads != *abandoned_threads,
            Reason::AbandonedThreads { from: from.abandoned_threads, to: *abandoned_threads },
        ),
        (from.listen != *listen, Reason::Listen),
        (from.sandbox != *sandbox, Reason::Sandbox),
        (from.isolation != *isolation, Reason::Isolation { from: from.isolation, to: *isolation }),
    ];
    candidates.into_iter().filter_map(|(differs, reason)| differs.then_some(reason)).collect()
}
