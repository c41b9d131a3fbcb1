//! The jobs that wait for their `worker.next.ack`.

use std::collections::HashMap;
use std::sync::Arc;

use mshost_bus::Route;
use mshost_bus::WireJob;
use mshost_core::ids::JobId;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The jobs that were published and are not taken yet; as many as proxies hold, no more.
#[derive(Debug, Default)]
pub(super) struct PendingAcks {
    waiting: Mutex<WaitingJobs>,
}

#[derive(Debug, Default)]
struct WaitingJobs {
    next: u64,
    /// Ids are unique, unless a job of MicroServices.js is on its way back to it.
    jobs: HashMap<JobId, Vec<WaitingJob>>,
}

#[derive(Debug)]
struct WaitingJob {
    number: u64,
    /// What the ack says: the route, one step on.
    route: Route,
    taken: Arc<Notify>,
}

impl PendingAcks {
    /// Waits for the ack of a job from now on, until dropped.
    pub(super) fn expect(&self, job: &WireJob) -> PendingAck<'_> {
        let taken = Arc::new(Notify::new());
        let route = job.route.next().unwrap_or_else(|| job.route.clone());
        let mut waiting = self.waiting.lock();
        waiting.next += 1;
        let number = waiting.next;
        let entry = WaitingJob { number, route, taken: Arc::clone(&taken) };
        waiting.jobs.entry(job.id.clone()).or_default().push(entry);
        PendingAck { acks: self, id: job.id.clone(), number, taken }
    }

    /// Ends the wait for it. An ack that is not waited for is of a job between two workers of MicroServices.js, or late.
    pub(super) fn settle(&self, ack: &WireJob) {
        let waiting = self.waiting.lock();
        let entries = waiting.jobs.get(&ack.id).map(Vec::as_slice).unwrap_or_default();
        if let Some(entry) = entries.iter().find(|entry| entry.route == ack.route) {
            entry.taken.notify_one();
        }
    }

    /// Whether a job of this id waits here.
    pub(super) fn has(&self, id: &JobId) -> bool {
        self.waiting.lock().jobs.contains_key(id)
    }
}

/// An ack that is waited for.
#[derive(Debug)]
pub(super) struct PendingAck<'a> {
    acks: &'a PendingAcks,
    id: JobId,
    number: u64,
    taken: Arc<Notify>,
}

impl PendingAck<'_> {
    /// Returns once it has come, also if that was before. Cancel safe.
    pub(super) async fn taken(&self) {
        self.taken.notified().await;
    }
}

impl Drop for PendingAck<'_> {
    fn drop(&mut self) {
        let mut waiting = self.acks.waiting.lock();
        if let Some(entries) = waiting.jobs.get_mut(&self.id) {
            entries.retain(|entry| entry.number != self.number);
            if entries.is_empty() {
                waiting.jobs.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt;
    use mshost_bus::{Codec, Payload};
    use mshost_core::ids::WorkerId;

    use super::*;

    fn job(route: &[&str], position: usize) -> WireJob {
        WireJob {
            id: JobId::new("J1460306476104").unwrap(),
            route: Route::new(Route::parse(route).unwrap().addresses(), position).unwrap(),
            sender: WorkerId::new("WA:1460306476101").unwrap().into(),
            payload: Payload::encode(Codec::Json, &1).unwrap(),
        }
    }

    #[test]
    fn an_ack_is_the_job_one_step_on() {
        let acks = PendingAcks::default();
        let expected = acks.expect(&job(&["WB:*", "WC:*"], 0));
        for other in [job(&["WB:*", "WC:*"], 0), job(&["WB:*"], 0), job(&["WB:*", "WD:*"], 1)] {
            acks.settle(&other);
            assert!(expected.taken().now_or_never().is_none(), "{other:?}");
        }
        acks.settle(&job(&["WB:*", "WC:*"], 1));
        assert!(expected.taken().now_or_never().is_some());
    }

    #[test]
    fn at_the_end_of_a_pipeline_the_position_stays() {
        let acks = PendingAcks::default();
        let expected = acks.expect(&job(&["WB:*"], 0));
        acks.settle(&job(&["WB:*"], 0));
        assert!(expected.taken().now_or_never().is_some());
    }

    #[test]
    fn nothing_is_kept_of_what_nobody_waits_for() {
        let acks = PendingAcks::default();
        let expected = [acks.expect(&job(&["WB:*"], 0)), acks.expect(&job(&["WC:*"], 0))];
        assert!(acks.has(&job(&["WB:*"], 0).id));
        drop(expected);
        assert!(acks.waiting.lock().jobs.is_empty());
    }
}
