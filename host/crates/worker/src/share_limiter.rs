//! Limits a canary to its share of the jobs.
//!
//! A canary runs beside the worker that it may replace, and both take jobs of the type. It counts what both have taken, and
//! pauses as soon as it has had its share: it remains a consumer, and the jobs go to the other. So the share holds
//! whatever the load is and whatever the bus, which a smaller prefetch alone would not do: two idle workers take turns.

use std::sync::Arc;
use std::time::Duration;

use mshost_bus::Job;
use mshost_core::ids::Address;
use tokio::time::{Interval, MissedTickBehavior};

use super::progress::Progress;

/// How often a paused worker looks whether its turn has come.
const LOOK: Duration = Duration::from_millis(20);

/// The part of the jobs of its slot that a worker may take.
#[derive(Debug, Clone)]
pub struct JobShare {
    /// From 0 to 1.
    pub fraction: f64,
    /// What the other worker of the slot has done.
    pub other: Arc<Progress>,
}

/// Counts the jobs of a worker and of the one beside it, and says when the worker is to pause.
pub(super) struct ShareLimiter {
    share: JobShare,
    /// What the other had taken when this began.
    before: u64,
    taken: u64,
    paused: bool,
    look: Interval,
}

impl ShareLimiter {
    pub(super) fn new(share: JobShare) -> Self {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { before: share.other.begun(), share, taken: 0, paused: false, look }
    }

    /// How many jobs at a time a worker with this share should have in hand.
    pub(super) fn prefetch(share: &JobShare, concurrency: u16) -> u16 {
        // Rounds down; a share is at most 1.
        ((f64::from(concurrency) * share.fraction) as u16).max(1)
    }

    /// Whether one more is within the share.
    fn may_take(&self) -> bool {
        let others = self.share.other.begun().saturating_sub(self.before);
        is_within(self.share.fraction, self.taken, others)
    }

    /// Notes a job that the worker has taken. Those for its id go to no other worker.
    pub(super) fn job_taken(&mut self, job: &Job) {
        if matches!(job.route.target(), Address::Any(_)) {
            self.taken += 1;
            self.paused = self.paused || !self.may_take();
        }
    }

    /// Whether the worker has had its share for now.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Returns when the worker's turn has come again. Cancel safe.
    pub(super) async fn until_resumed(&mut self) {
        loop {
            self.look.tick().await;
            if self.paused && self.may_take() {
                self.paused = false;
                return;
            }
        }
    }
}

/// Whether one job more than `taken`, beside `others`, is at most this share of them all. The first is allowed.
fn is_within(share: f64, taken: u64, others: u64) -> bool {
    // Far below 2^53.
    (taken as f64) < share * ((taken + others + 1) as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn of_many_jobs_it_takes_its_share() {
        for share in [0.001, 0.1, 0.25, 0.5, 0.9] {
            let (mut taken, mut others) = (0_u64, 0_u64);
            for _ in 0..100_000 {
                // It is asked first each time, as an idle worker would be.
                *if is_within(share, taken, others) { &mut taken } else { &mut others } += 1;
                assert!(taken as f64 <= share * ((taken + others) as f64) + 1.0, "{taken} of {}", taken + others);
            }
            assert!((taken as f64 / 100_000.0 - share).abs() < 0.001, "{taken} at {share}");
        }
    }

    #[test]
    fn it_has_room_for_one_job_at_least() {
        let share = JobShare { fraction: 0.1, other: Arc::default() };
        assert_eq!([1, 9, 10, 64, u16::MAX].map(|jobs| ShareLimiter::prefetch(&share, jobs)), [1, 1, 1, 6, 6_553]);
    }
}
