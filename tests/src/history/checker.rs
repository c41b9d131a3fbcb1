//! What the records come to. The rules are in the folder's documentation.

use std::collections::HashMap;

use super::record::JournalRecord;
use super::verdict::{HistoryVerdict, Violation};

/// How many stages the pipeline has.
pub const STAGES: usize = 3;

/// Everything that is known so far. Records may come in any order, but those of one generator.
#[derive(Debug, Default)]
pub struct PipelineHistory {
    jobs: HashMap<Box<str>, JobHistory>,
    pipelines: HashMap<u64, Pipeline>,
    /// Accepted jobs of which rule 1 does not hold yet.
    open: usize,
    /// Pipelines whose first job was accepted.
    accepted: u64,
    /// Pipelines of which a last job was done.
    executed: u64,
    /// Sends of the living generator that wait for an answer.
    unanswered: u64,
    records: u64,
    finished: bool,
    torn: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct JobHistory {
    /// Where it belongs, once that is known.
    place: Option<PipelinePosition>,
    accepted: bool,
    executions: u32,
    /// Executions that say of themselves that they may not be the first.
    flagged: u32,
    overtaken: bool,
    done: bool,
    reported: bool,
    dead: bool,
    /// Two records disagree on its place.
    mixed_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PipelinePosition {
    pipeline: u64,
    stage: u8,
}

#[derive(Debug, Default)]
struct Pipeline {
    /// Sends of the living generator that wait for an answer.
    unanswered: u32,
    /// Sends whose answer nobody knows.
    unknown: u32,
    /// Jobs accepted for each stage.
    accepted: [u32; STAGES],
    executions: [u32; STAGES],
    /// A job of the last stage was done.
    executed: bool,
}

impl JobHistory {
    fn is_open(&self) -> bool {
        self.accepted && !(self.done || self.reported || self.dead)
    }
}

impl PipelineHistory {
    /// Takes one record in.
    pub fn add(&mut self, record: &JournalRecord<'_>) {
        self.records += 1;
        match *record {
            JournalRecord::Started => self.forget_answers(),
            JournalRecord::Finished => self.finished = true,
            JournalRecord::Intent { pipeline } => {
                self.unanswered += 1;
                self.pipeline(pipeline).unanswered += 1;
            }
            JournalRecord::Refused { pipeline, certain } => {
                self.answered(pipeline);
                self.pipeline(pipeline).unknown += u32::from(!certain);
            }
            JournalRecord::Sent { pipeline, stage, job, by } => {
                self.sent(PipelinePosition { pipeline, stage }, job, by)
            }
            JournalRecord::Begun { pipeline, stage, job, attempt, redelivered } => {
                self.begun(PipelinePosition { pipeline, stage }, job, redelivered || attempt > 1);
            }
            JournalRecord::Done { job } => self.done(job),
            JournalRecord::Failed { job, .. } => self.change(job, |job| job.reported = true),
        }
    }

    /// A record that is not whole: somebody was killed in the middle of writing it.
    pub fn add_torn(&mut self) {
        self.torn += 1;
    }

    /// A job that the bus keeps as a dead letter.
    pub fn add_dead_letter(&mut self, job: &str) {
        self.change(job, |job| job.dead = true);
    }

    /// Whether the generator has sent all, and of each accepted job it is known what became of it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.finished && self.open == 0
    }

    /// Whether the generator has sent all that it was to send.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// How many accepted jobs nobody has accounted for so far.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// Whether no send waits for its answer, and nothing that was accepted waits to be done.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.unanswered == 0 && self.open == 0
    }

    /// How many pipelines were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Of how many pipelines the last job was done so far.
    #[must_use]
    pub fn executed(&self) -> u64 {
        self.executed
    }

    /// How many records there are: it stands still when nothing happens.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Judges what is known.
    #[must_use]
    pub fn verdict(&self) -> HistoryVerdict {
        let mut verdict = HistoryVerdict {
            accepted: self.accepted,
            executed: self.executed,
            torn: self.torn,
            ..HistoryVerdict::default()
        };
        let mut unrecorded: HashMap<PipelinePosition, u32> = HashMap::new();
        for (id, job) in &self.jobs {
            count(&mut verdict, job);
            verdict.violations.extend(condemn(id, job));
            if let (Some(place), false, true) = (job.place, job.accepted, job.executions > 0) {
                *unrecorded.entry(place).or_default() += 1;
            }
        }
        for (&number, pipeline) in &self.pipelines {
            if pipeline.unanswered > 0 {
                verdict.violations.push(Violation::Unanswered { pipeline: number });
            }
        }
        for (place, jobs) in unrecorded {
            let allowed =
                self.pipelines.get(&place.pipeline).map_or(0, |pipeline| pipeline.unrecorded_sends(place.stage));
            if jobs > allowed {
                let PipelinePosition { pipeline, stage } = place;
                verdict.violations.push(Violation::Invented { pipeline, stage, jobs, allowed });
            }
        }
        verdict.resent = self.pipelines.values().map(Pipeline::resent).sum();
        verdict.violations.sort();
        verdict
    }

    fn pipeline(&mut self, number: u64) -> &mut Pipeline {
        self.pipelines.entry(number).or_default()
    }

    /// The generator is a new one: what the old one waits for, it will never hear.
    fn forget_answers(&mut self) {
        self.unanswered = 0;
        for pipeline in self.pipelines.values_mut() {
            pipeline.unknown += std::mem::take(&mut pipeline.unanswered);
        }
    }

    fn answered(&mut self, pipeline: u64) {
        let pipeline = self.pipeline(pipeline);
        if pipeline.unanswered > 0 {
            pipeline.unanswered -= 1;
            self.unanswered -= 1;
        }
    }

    fn sent(&mut self, place: PipelinePosition, job: &str, by: Option<&str>) {
        if by.is_none() {
            self.answered(place.pipeline);
        }
        let pipeline = self.pipeline(place.pipeline);
        let is_new = place.stage == 1 && pipeline.accepted[0] == 0;
        if let Some(accepted) = pipeline.accepted.get_mut(index(place.stage)) {
            *accepted += 1;
        }
        self.accepted += u64::from(is_new);
        self.change(job, |job| {
            job.put(place);
            job.accepted = true;
        });
        if let Some(by) = by {
            self.change(by, |job| job.done = true);
        }
    }

    fn begun(&mut self, place: PipelinePosition, job: &str, flagged: bool) {
        if let Some(executions) = self.pipeline(place.pipeline).executions.get_mut(index(place.stage)) {
            *executions += 1;
        }
        self.change(job, |job| {
            job.put(place);
            job.overtaken |= !flagged && job.flagged > 0;
            job.executions += 1;
            job.flagged += u32::from(flagged);
        });
    }

    fn done(&mut self, job: &str) {
        self.change(job, |job| job.done = true);
        // The worker that did it has recorded its place before.
        if let Some(place) = self.jobs.get(job).and_then(|job| job.place) {
            let pipeline = self.pipeline(place.pipeline);
            let is_first = !std::mem::replace(&mut pipeline.executed, true);
            self.executed += u64::from(is_first);
        }
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut JobHistory)) {
        let job = match self.jobs.get_mut(id) {
            Some(job) => job,
            None => self.jobs.entry(id.into()).or_default(),
        };
        let was_open = job.is_open();
        change(job);
        match (was_open, job.is_open()) {
            (false, true) => self.open += 1,
            (true, false) => self.open -= 1,
            _ => {}
        }
    }
}

impl JobHistory {
    fn put(&mut self, place: PipelinePosition) {
        self.mixed_up |= self.place.is_some_and(|known| known != place);
        self.place = Some(place);
    }
}

impl Pipeline {
    /// How many jobs for a stage may have been accepted without a record of it.
    fn unrecorded_sends(&self, stage: u8) -> u32 {
        match index(stage) {
            0 => self.unknown + self.unanswered,
            stage @ 1..STAGES => self.executions[stage - 1].saturating_sub(self.accepted[stage]),
            _ => 0,
        }
    }

    /// How many jobs were accepted for a stage in addition to the one that was meant to be.
    fn resent(&self) -> u64 {
        self.accepted.iter().map(|accepted| u64::from(accepted.saturating_sub(1))).sum()
    }
}

/// Where a stage stands in the arrays; stage 0 does not exist, and is in none.
fn index(stage: u8) -> usize {
    usize::from(stage).wrapping_sub(1)
}

fn count(verdict: &mut HistoryVerdict, job: &JobHistory) {
    let Some(place) = job.place else { return };
    verdict.jobs += u64::from(job.accepted);
    verdict.reported += u64::from(job.reported);
    verdict.dead_letters += u64::from(job.dead);
    verdict.overtaken += u64::from(job.overtaken);
    if let Some(duplicates) = verdict.duplicates.get_mut(index(place.stage)) {
        *duplicates += u64::from(job.executions.saturating_sub(1));
    }
}

/// What is wrong with one job.
fn condemn(id: &str, job: &JobHistory) -> Vec<Violation> {
    let Some(PipelinePosition { pipeline, stage }) = job.place else { return Vec::new() };
    let job_id = || id.to_owned();
    let mut violations = Vec::new();
    if job.is_open() {
        violations.push(match job.executions {
            0 => Violation::Lost { pipeline, stage, job: job_id() },
            executions => Violation::Silent { pipeline, stage, job: job_id(), executions },
        });
    }
    let unflagged = job.executions - job.flagged;
    if unflagged > 1 {
        violations.push(Violation::Unflagged { pipeline, stage, job: job_id(), executions: job.executions, unflagged });
    }
    if job.mixed_up || index(stage) >= STAGES {
        violations.push(Violation::MixedUp { job: job_id() });
    }
    violations
}
