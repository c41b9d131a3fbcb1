//! What a worker has done so far.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use mshost_core::status::{Complaint, ProcessStatus};
use parking_lot::Mutex;

use super::attempt::Outcome;

/// What a worker has done so far. Written by its lane, read by whoever looks.
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

    pub(super) fn set_begun(&self, jobs: u64) {
        self.done.store(jobs, Ordering::Relaxed);
    }

    pub(super) fn set_process(&self, process: ProcessStatus) {
        // It has one only.
        let _ = self.process.set(process);
    }

    pub(super) fn set_last_error(&self, error: Complaint) {
        *self.last_error.lock() = Some(error);
    }

    /// A job is no longer in hand: done, failed, or (`None`) handed back.
    pub(super) fn settled(&self, is_done: Option<bool>) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(is_done) = is_done {
            if is_done { &self.done } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn taken(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Jobs that were taken, and given back unfinished.
    pub(super) fn handed_back(&self, jobs: usize) {
        self.in_flight.fetch_sub(jobs as u64, Ordering::Relaxed);
    }

    pub(super) fn finished(&self, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.settled(Some(true)),
            Outcome::Failed(error) => {
                self.settled(Some(false));
                self.set_last_error(Complaint::now(error));
            }
        }
    }
}

/// What a worker that runs elsewhere is noted to have done.
impl Progress {
    /// A job is in its hands.
    pub fn took(&self) {
        self.taken();
    }

    /// A job is no longer in its hands: done, failed, or (`None`) handed back.
    pub fn let_go(&self, is_done: Option<bool>) {
        self.settled(is_done);
    }

    /// So many jobs have come into its hands.
    pub fn have_begun(&self, jobs: u64) {
        self.set_begun(jobs);
    }

    /// Why an attempt has failed.
    pub fn complain(&self, error: String) {
        self.set_last_error(Complaint::now(error));
    }

    /// It runs in this process.
    pub fn runs_in(&self, process: ProcessStatus) {
        self.set_process(process);
    }
}
