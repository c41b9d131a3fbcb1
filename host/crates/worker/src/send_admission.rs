//! Decides whether a job may be sent, by the workers that the manager knows, the types that are being started, and `absent`;
//! the same for workers in the host and for those in processes of their own.

use std::sync::Arc;

use mshost_bus::{Absent, Bus, Job};
use mshost_core::ids::Address;
use mshost_manager::Registry;
use mshost_plugin_api::SendError;

use super::starting_types::StartingTypes;

/// Decides whether a worker's jobs may be sent.
#[derive(Debug, Clone)]
pub struct SendAdmission {
    /// The workers that the manager knows.
    pub(super) registry: Arc<Registry>,
    /// The types that are being started.
    pub(super) starting_types: StartingTypes,
    /// What becomes of a job for a type that has no worker now.
    pub(super) absent: Absent,
}

/// What is known of a job before it is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum SendDecision {
    /// The bus decides.
    AskBus,
    /// A worker for it is being started: [`SendAdmission::send`] waits for it, where the bus alone would refuse.
    AwaitWorker,
    /// It is refused.
    Refused(SendError),
}

impl SendAdmission {
    /// What is known of this job. Needs no waiting.
    #[must_use]
    pub fn decide(&self, job: &Job) -> SendDecision {
        let target = job.route.target();
        if self.starting_types.may_wait(job) {
            return SendDecision::AwaitWorker;
        }
        let may_wait = self.absent == Absent::Wait && matches!(target, Address::Any(_));
        // A durable queue outlives its workers, so that the bus alone cannot always tell that no worker is there.
        if !may_wait && self.registry.is_gone(target) {
            return SendDecision::Refused(SendError::NoWorker(target.clone()));
        }
        SendDecision::AskBus
    }

    /// Sends a job, and waits with it for a worker that is being started. See [`StartingTypes::send`].
    ///
    /// # Errors
    /// As [`Bus::send`].
    pub async fn send(&self, bus: &dyn Bus, job: Job) -> Result<(), SendError> {
        self.starting_types.send(bus, job).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mshost_bus::{Announcement, Codec, Payload, Route};
    use mshost_core::ids::{JobId, WorkerId, WorkerRef, WorkerType};
    use mshost_core::metrics::Metrics;
    use tokio::time::Instant;

    use super::*;

    const GONE: &str = "WB:1460306476101";

    fn worker(id: &str) -> WorkerRef {
        WorkerId::new(id).unwrap().into()
    }

    fn job(target: &str) -> Job {
        let id = JobId::new("J1").unwrap();
        Job {
            correlation: id.clone(),
            id,
            route: Route::parse([target]).unwrap(),
            sender: worker("WA:1460306476100"),
            origin: worker("WA:1460306476100"),
            attempt: 1,
            deadline: None,
            payload: Payload::encode(Codec::MsgPack, &0).unwrap(),
        }
    }

    /// The one worker of the type WB that there was has left.
    fn admission(absent: Absent) -> SendAdmission {
        let registry = Arc::new(Registry::new(8, Metrics::new().unwrap()));
        registry.add(Announcement { worker: worker(GONE), host: None }, Instant::now());
        registry.remove(&worker(GONE).id);
        SendAdmission { registry, starting_types: StartingTypes::default(), absent }
    }

    fn refused(target: &str) -> SendDecision {
        SendDecision::Refused(SendError::NoWorker(Address::new(target).unwrap()))
    }

    #[test]
    fn the_bus_decides_where_no_worker_is_known_to_have_left() {
        for absent in [Absent::Fail, Absent::Wait] {
            assert_eq!(admission(absent).decide(&job("WC:*")), SendDecision::AskBus);
            assert_eq!(admission(absent).decide(&job("WC:1460306476102")), SendDecision::AskBus);
        }
    }

    #[test]
    fn a_type_that_all_have_left_is_refused_unless_jobs_wait() {
        assert_eq!(admission(Absent::Fail).decide(&job("WB:*")), refused("WB:*"));
        assert_eq!(admission(Absent::Wait).decide(&job("WB:*")), SendDecision::AskBus);
    }

    #[test]
    fn a_worker_that_has_left_is_refused_whatever_waits_for_its_type() {
        for absent in [Absent::Fail, Absent::Wait] {
            let admission = admission(absent);
            let _expectation = admission.starting_types.announce(WorkerType::new("WB").unwrap());
            assert_eq!(admission.decide(&job(GONE)), refused(GONE));
        }
    }

    #[test]
    fn a_worker_that_is_being_started_is_waited_for_while_that_is_so() {
        for absent in [Absent::Fail, Absent::Wait] {
            let admission = admission(absent);
            let before = admission.decide(&job("WB:*"));
            let expectation = admission.starting_types.announce(WorkerType::new("WB").unwrap());
            assert_eq!(admission.decide(&job("WB:*")), SendDecision::AwaitWorker);
            drop(expectation);
            assert_eq!(admission.decide(&job("WB:*")), before);
        }
    }
}
