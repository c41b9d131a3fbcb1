//! What the checker finds.

use std::fmt;

/// How many violations are shown; more of them say nothing more.
const SHOWN: usize = 20;

/// The figures of a history and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryVerdict {
    /// Pipelines whose first job the bus accepted.
    pub accepted: u64,
    /// Jobs that the bus accepted, over all stages.
    pub jobs: u64,
    /// Pipelines of which a job of the last stage was done.
    pub executed: u64,
    /// Jobs that failed for good and of which an `on_error` heard.
    pub reported: u64,
    /// Jobs that are dead letters.
    pub dead_letters: u64,
    /// Further executions of a job, by stage.
    pub duplicates: [u64; super::STAGES],
    /// Jobs that were overtaken by their own redelivery.
    pub overtaken: u64,
    /// Jobs that were sent by a further execution of the stage before.
    pub resent: u64,
    /// Records that a killed process left unfinished.
    pub torn: u64,
    /// Where the rules are broken, the worst first.
    pub violations: Vec<Violation>,
}

impl HistoryVerdict {
    /// How many accepted jobs nobody can account for.
    #[must_use]
    pub fn lost(&self) -> usize {
        let lost = |violation: &&Violation| matches!(violation, Violation::Lost { .. } | Violation::Silent { .. });
        self.violations.iter().filter(lost).count()
    }

    /// # Panics
    /// Where a rule is broken.
    pub fn assert_flawless(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }
}

impl fmt::Display for HistoryVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, jobs, executed, reported, dead_letters, duplicates, overtaken, resent, torn, violations } =
            self;
        write!(
            f,
            "{accepted} pipelines accepted ({jobs} jobs), {executed} executed, {reported} reported, {dead_letters} dead letters, \
             {duplicates:?} duplicates by stage ({overtaken} overtaken), {resent} resent, {torn} torn records, \
             {} violations",
            violations.len()
        )?;
        for violation in violations.iter().take(SHOWN) {
            write!(f, "\n  {violation}")?;
        }
        match violations.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[allow(missing_docs)] // the fields are what their names say
pub enum Violation {
    /// Rule 1.
    #[error("lost: job {job} of pipeline {pipeline} was accepted for stage {stage} and never came")]
    Lost { pipeline: u64, stage: u8, job: String },
    /// Rule 2.
    #[error(
        "silent: job {job} of pipeline {pipeline} began {executions} times in stage {stage}, was not done and not reported"
    )]
    Silent { pipeline: u64, stage: u8, job: String, executions: u32 },
    /// Rule 3.
    #[error(
        "invented: {jobs} jobs of pipeline {pipeline} came to stage {stage} without a record of their acceptance, at most {allowed} can have lost it"
    )]
    Invented { pipeline: u64, stage: u8, jobs: u32, allowed: u32 },
    /// Rule 3.
    #[error("mixed up: job {job} came in several places")]
    MixedUp { job: String },
    /// Rule 4.
    #[error(
        "unflagged: {unflagged} of {executions} executions of job {job} of pipeline {pipeline} in stage {stage} say that they are the first"
    )]
    Unflagged { pipeline: u64, stage: u8, job: String, executions: u32, unflagged: u32 },
    /// Rule 5.
    #[error("unanswered: the living generator waits for the answer to pipeline {pipeline}")]
    Unanswered { pipeline: u64 },
}
