//! Whether a job may be sent: whom the manager knows, who is about to be there, and what `absent` says, put together once
//! for workers in the host and for those in processes of their own.

use std::sync::Arc;

use mshost_bus::{Absent, Bus, Job};
use mshost_core::ids::Address;
use mshost_manager::Registry;
use mshost_plugin_api::SendError;

use super::Expected;

/// Whom a worker's jobs can reach.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Who else is there, as the manager knows.
    pub(super) registry: Arc<Registry>,
    /// Who is about to be there.
    pub(super) expected: Expected,
    /// What becomes of a job for a type that has no worker now.
    pub(super) absent: Absent,
}

/// What is known of a job before it is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Prospect {
    /// The bus decides.
    Open,
    /// A worker for it is about to be there: [`Reach::send`] waits for it, where the bus alone would refuse.
    Expected,
    /// It is refused.
    Refused(SendError),
}

impl Reach {
    /// What is known of this job. Needs no waiting.
    #[must_use]
    pub fn prospect(&self, job: &Job) -> Prospect {
        let target = job.route.target();
        if self.expected.concerns(job) {
            return Prospect::Expected;
        }
        let may_wait = self.absent == Absent::Wait && matches!(target, Address::Any(_));
        // A durable queue outlives its workers, so that the bus alone cannot always tell that nobody is there.
        if !may_wait && self.registry.is_gone(target) {
            return Prospect::Refused(SendError::NoWorker(target.clone()));
        }
        Prospect::Open
    }

    /// Sends a job, and waits with it for a worker that is expected. See [`Expected::send`].
    ///
    /// # Errors
    /// As [`Bus::send`].
    pub async fn send(&self, bus: &dyn Bus, job: Job) -> Result<(), SendError> {
        self.expected.send(bus, job).await
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
    fn reach(absent: Absent) -> Reach {
        let registry = Arc::new(Registry::new(8, Metrics::new().unwrap()));
        registry.add(Announcement { worker: worker(GONE), host: None }, Instant::now());
        registry.remove(&worker(GONE).id);
        Reach { registry, expected: Expected::default(), absent }
    }

    fn refused(target: &str) -> Prospect {
        Prospect::Refused(SendError::NoWorker(Address::new(target).unwrap()))
    }

    #[test]
    fn the_bus_decides_where_nobody_is_known_to_have_left() {
        for absent in [Absent::Fail, Absent::Wait] {
            assert_eq!(reach(absent).prospect(&job("WC:*")), Prospect::Open);
            assert_eq!(reach(absent).prospect(&job("WC:1460306476102")), Prospect::Open);
        }
    }

    #[test]
    fn a_type_that_all_have_left_is_refused_unless_jobs_wait() {
        assert_eq!(reach(Absent::Fail).prospect(&job("WB:*")), refused("WB:*"));
        assert_eq!(reach(Absent::Wait).prospect(&job("WB:*")), Prospect::Open);
    }

    #[test]
    fn a_worker_that_has_left_is_refused_whatever_waits_for_its_type() {
        for absent in [Absent::Fail, Absent::Wait] {
            let reach = reach(absent);
            let _expectation = reach.expected.announce(WorkerType::new("WB").unwrap());
            assert_eq!(reach.prospect(&job(GONE)), refused(GONE));
        }
    }

    #[test]
    fn whoever_is_about_to_come_is_waited_for_while_that_is_so() {
        for absent in [Absent::Fail, Absent::Wait] {
            let reach = reach(absent);
            let before = reach.prospect(&job("WB:*"));
            let expectation = reach.expected.announce(WorkerType::new("WB").unwrap());
            assert_eq!(reach.prospect(&job("WB:*")), Prospect::Expected);
            drop(expectation);
            assert_eq!(reach.prospect(&job("WB:*")), before);
        }
    }
}
