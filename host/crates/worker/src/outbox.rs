//! What a worker's plugin may ask of the host.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mshost_bus::Job;
use mshost_core::ids::WorkerRef;
use mshost_core::metrics::worker_service;
use mshost_plugin_api::{Codec, SendError};
use mshost_plugin_host::{HostServices, SendOutcome, SendRequest};

use super::alarm::Alarm;
use super::counters::Counters;
use super::gate::Gate;
use super::{Listeners, Prospect, Reach, Stragglers, Surroundings, fresh};

/// The host, as one worker sees it. Called on any thread of the plugin, and never waits there.
pub(super) struct Outbox {
    pub(super) worker: WorkerRef,
    pub(super) surroundings: Surroundings,
    /// Whom its jobs can reach.
    pub(super) reach: Reach,
    pub(super) counters: Arc<Counters>,
    pub(super) listeners: Listeners,
    pub(super) stragglers: Stragglers,
    /// How long an attempt may take.
    pub(super) timeout: Duration,
    pub(super) alarm: Alarm,
    /// Open once the worker can be reached.
    pub(super) gate: Gate,
    /// How long the pipelines that the worker begins may take.
    pub(super) deadline: Option<Duration>,
}

impl Outbox {
    fn job(&self, request: SendRequest) -> Job {
        let id = fresh::job_id();
        let (correlation, origin, deadline) = match request.parent {
            Some(parent) => (parent.correlation.clone(), parent.origin.clone(), parent.deadline),
            None => {
                (id.clone(), self.worker.clone(), self.deadline.and_then(|limit| SystemTime::now().checked_add(limit)))
            }
        };
        Job {
            id,
            correlation,
            route: request.route,
            sender: self.worker.clone(),
            origin,
            attempt: 1,
            deadline,
            payload: request.payload,
        }
    }
}

impl Outbox {
    fn send_later(&self, gate: Option<Gate>, job: Job) -> SendOutcome {
        let (bus, counters) = (Arc::clone(&self.surroundings.bus), Arc::clone(&self.counters));
        let reach = self.reach.clone();
        SendOutcome::Pending(Box::pin(async move {
            if let Some(gate) = gate {
                gate.pass().await?;
            }
            let id = job.id.clone();
            tally(&counters, reach.send(&*bus, job).await).map(|()| id)
        }))
    }
}

impl HostServices for Outbox {
    fn codec(&self) -> Codec {
        self.surroundings.bus.codec()
    }

    fn worker(&self) -> WorkerRef {
        self.worker.clone()
    }

    fn send(&self, request: SendRequest) -> SendOutcome {
        let must_wait = !request.by_start && !self.gate.is_open();
        let job = self.job(request);
        let id = job.id.clone();
        match self.reach.prospect(&job) {
            Prospect::Refused(refusal) => return SendOutcome::Done(tally(&self.counters, Err(refusal)).map(|()| id)),
            Prospect::Open if !must_wait => {}
            Prospect::Open | Prospect::Expected => {
                return self.send_later(must_wait.then(|| self.gate.clone()), job);
            }
        }
        match self.surroundings.bus.try_send(job) {
            Ok(sent) => SendOutcome::Done(tally(&self.counters, sent).map(|()| id)),
            Err(job) => self.send_later(None, *job),
        }
    }

    fn listener(&self, name: &str) -> Result<OwnedFd, String> {
        self.listeners.duplicate(name)
    }

    fn observe(&self, job_type: &str, elapsed: Duration) {
        let service = worker_service(&self.worker.worker_type);
        self.surroundings.metrics.job_seconds.with_label_values(&[&*service, job_type]).observe(elapsed.as_secs_f64());
    }

    fn set_value(&self, name: &str, value: f64) {
        let service = worker_service(&self.worker.worker_type);
        self.surroundings.metrics.plugin_values.with_label_values(&[&*service, name]).set(value);
    }

    fn panicked(&self, message: &str) {
        self.alarm.raise(message);
    }

    fn thread_abandoned(&self, since: Instant) {
        self.stragglers.left(since + self.timeout);
    }

    fn thread_returned(&self, since: Instant) {
        self.stragglers.returned(since + self.timeout);
    }
}

fn tally(counters: &Counters, sent: Result<(), SendError>) -> Result<(), SendError> {
    match &sent {
        Ok(()) => counters.sent_jobs.inc(),
        Err(SendError::NoWorker(_)) => counters.no_worker.inc(),
        Err(_) => {}
    }
    sent
}
