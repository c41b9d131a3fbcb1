//! The job counts of a worker.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use mshost_core::status::{Complaint, ProcessStatus};
use parking_lot::Mutex;

use super::attempt::AttemptOutcome;

/// What a worker has done so far. Written by its task, or by the server of its process; read by the status and by canaries.
#[derive(Debug, Default)]
pub struct Progress {
    in_flight: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    last_error: Mutex<Option<Complaint>>,
    /// The process that it runs in, where that is not the host.
    process: OnceLock<ProcessStatus>,
}

impl Progress {
    /// Jobs in hand.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Jobs done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Attempts that failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Jobs that came into its hands.
    pub fn begun(&self) -> u64 {
        self.in_flight() + self.done() + self.failed()
    }

    /// Why the last failed attempt failed.
    pub fn last_error(&self) -> Option<Complaint> {
        self.last_error.lock().clone()
    }

    /// The process that it runs in, where that is not the host.
    pub fn process(&self) -> Option<&ProcessStatus> {
        self.process.get()
    }

    /// Sets how many jobs have come into its hands, where another process counts them.
    pub fn set_begun(&self, jobs: u64) {
        self.done.store(jobs, Ordering::Relaxed);
    }

    /// Sets the process that it runs in.
    pub fn set_process(&self, process: ProcessStatus) {
        // It has one only.
        let _ = self.process.set(process);
    }

    /// Sets why the last failed attempt failed.
    pub fn set_last_error(&self, error: String) {
        *self.last_error.lock() = Some(Complaint::now(error));
    }

    /// A job is no longer in hand: done, failed, or (`None`) handed back.
    pub fn job_settled(&self, is_done: Option<bool>) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(is_done) = is_done {
            if is_done { &self.done } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A job has come into its hands.
    pub fn job_taken(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Jobs that were taken, and given back unfinished.
    pub(super) fn handed_back(&self, jobs: usize) {
        self.in_flight.fetch_sub(jobs as u64, Ordering::Relaxed);
    }

    /// An attempt at a job has ended.
    pub(super) fn attempt_ended(&self, outcome: AttemptOutcome) {
        match outcome {
            AttemptOutcome::Done => self.job_settled(Some(true)),
            AttemptOutcome::Failed(error) => {
                self.job_settled(Some(false));
                self.set_last_error(error);
            }
        }
    }
}
