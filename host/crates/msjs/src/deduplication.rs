//! Deduplication: which jobs of MicroServices.js were taken. It sends a job again when its ack is late or lost.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use mshost_bus::WireJob;
use mshost_core::ids::JobId;
use tokio::time::Instant;

/// A job is remembered for as long as this at least: its sender gives it up after 10 s.
const REMEMBER: Duration = Duration::from_secs(60);
/// More than twice as many jobs are not remembered.
const HALF: usize = 65_536;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntakeStage {
    /// It is on its way to the bus.
    Sending,
    /// The bus has it.
    Taken,
}

/// The ids of jobs that came in, in bounded memory: two halves take turns, and when the newer one is full or old the older one
/// is forgotten.
#[derive(Debug)]
pub(super) struct Deduplicator {
    newer: HashMap<JobId, IntakeStage>,
    older: HashMap<JobId, IntakeStage>,
    turned: Instant,
}

impl Deduplicator {
    pub(super) fn new() -> Self {
        Self { newer: HashMap::new(), older: HashMap::new(), turned: Instant::now() }
    }

    /// How far this job is; `None`, and [`IntakeStage::Sending`] from now on, where it is new.
    pub(super) fn begin(&mut self, id: &JobId) -> Option<IntakeStage> {
        let known = self.newer.get(id).or_else(|| self.older.get(id)).copied();
        if known.is_none() {
            self.put(id.clone(), IntakeStage::Sending);
        }
        known
    }

    /// The bus has it.
    pub(super) fn finish(&mut self, id: JobId) {
        self.put(id, IntakeStage::Taken);
    }

    /// It was not taken, and is new when it comes again.
    pub(super) fn forget(&mut self, id: &JobId) {
        self.newer.remove(id);
        self.older.remove(id);
    }

    fn put(&mut self, id: JobId, stage: IntakeStage) {
        if self.newer.len() >= HALF || self.turned.elapsed() >= REMEMBER {
            self.older = std::mem::take(&mut self.newer);
            self.turned = Instant::now();
        }
        self.newer.insert(id, stage);
    }
}

/// The id that a job of MicroServices.js has on the bus: its own, which others of the same millisecond share, and a hash that
/// tells it from those. The same when it is sent again, to whatever host.
pub(super) fn bus_job_id(job: &WireJob) -> JobId {
    let mut hasher = DefaultHasher::new();
    (&job.sender.id, job.route.addresses(), job.route.position(), job.payload.bytes()).hash(&mut hasher);
    // An id of mshost is at most 200 bytes long, one of MicroServices.js 14.
    JobId::new(&format!("{}-{:016x}", job.id, hasher.finish())).unwrap_or_else(|_| job.id.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mshost_bus::{Codec, Payload, Route};
    use mshost_core::ids::WorkerId;

    use super::*;

    fn id(number: usize) -> JobId {
        JobId::new(&format!("J{number}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_new_once_until_it_is_old() {
        let mut seen = Deduplicator::new();
        assert_eq!(seen.begin(&id(1)), None);
        assert_eq!(seen.begin(&id(1)), Some(IntakeStage::Sending));
        seen.finish(id(1));
        tokio::time::advance(REMEMBER).await;
        assert_eq!(seen.begin(&id(2)), None);
        assert_eq!(seen.begin(&id(1)), Some(IntakeStage::Taken));
        seen.forget(&id(2));
        assert_eq!(seen.begin(&id(2)), None);
        tokio::time::advance(REMEMBER).await;
        assert_eq!(seen.begin(&id(3)), None);
        assert_eq!(seen.begin(&id(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_leaves_bounded_memory() {
        let mut seen = Deduplicator::new();
        for number in 0..HALF * 3 {
            seen.begin(&id(number));
        }
        assert!(seen.newer.len() + seen.older.len() <= HALF * 2);
        assert_eq!(seen.begin(&id(HALF * 3 - 1)), Some(IntakeStage::Sending));
    }

    #[test]
    fn jobs_of_one_millisecond_differ_and_a_job_that_comes_again_does_not() {
        let job = |sender: &str, number: u32| WireJob {
            id: id(1),
            route: Route::parse(["WB:*"]).unwrap(),
            sender: WorkerId::new(sender).unwrap().into(),
            payload: Payload::encode(Codec::Json, &number).unwrap(),
        };
        let ids = [("WA:1460306476101", 1), ("WA:1460306476101", 2), ("WA:1460306476102", 1)]
            .map(|(sender, number)| bus_job_id(&job(sender, number)));
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2], "{ids:?}");
        assert_eq!(ids[0], bus_job_id(&job("WA:1460306476101", 1)));
        assert!(ids[0].starts_with("J1-"));
    }
}
