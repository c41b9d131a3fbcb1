//! The host's services for the plugin of one worker: sending, sockets, metrics.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mshost_bus::Job;
use mshost_core::ids::WorkerRef;
use mshost_core::metrics::worker_service;
use mshost_plugin_api::{Codec, SendError};
use mshost_plugin_host::{HostServices, SendOutcome, SendRequest};

use super::abandoned_threads::AbandonedThreads;
use super::host_context::HostContext;
use super::id_generator::new_job_id;
use super::panic_signal::PanicSignal;
use super::send_admission::{SendAdmission, SendDecision};
use super::send_gate::SendGate;
use super::sockets::Listeners;
use super::worker_counters::WorkerCounters;

/// [`HostServices`] for one worker. Called on any thread of the plugin, and never waits there.
pub(super) struct PluginServices {
    pub(super) worker: WorkerRef,
    pub(super) host: HostContext,
    /// Decides whether its jobs may be sent.
    pub(super) admission: SendAdmission,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) listeners: Listeners,
    pub(super) abandoned_threads: AbandonedThreads,
    /// How long an attempt may take.
    pub(super) timeout: Duration,
    pub(super) panic_signal: PanicSignal,
    /// Open once the worker can be reached.
    pub(super) gate: SendGate,
    /// How long the pipelines that the worker begins may take.
    pub(super) deadline: Option<Duration>,
}

impl PluginServices {
    fn job(&self, request: SendRequest) -> Job {
        let id = new_job_id();
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

    fn send_later(&self, gate: Option<SendGate>, job: Job) -> SendOutcome {
        let (bus, counters) = (Arc::clone(&self.host.bus), Arc::clone(&self.counters));
        let admission = self.admission.clone();
        SendOutcome::Pending(Box::pin(async move {
            if let Some(gate) = gate {
                gate.wait_until_open().await?;
            }
            let id = job.id.clone();
            count_sent(&counters, admission.send(&*bus, job).await).map(|()| id)
        }))
    }
}

impl HostServices for PluginServices {
    fn codec(&self) -> Codec {
        self.host.bus.codec()
    }

    fn worker(&self) -> WorkerRef {
        self.worker.clone()
    }

    fn send(&self, request: SendRequest) -> SendOutcome {
        let must_wait = !request.by_start && !self.gate.is_open();
        let job = self.job(request);
        let id = job.id.clone();
        match self.admission.decide(&job) {
            SendDecision::Refused(refusal) => {
                return SendOutcome::Done(count_sent(&self.counters, Err(refusal)).map(|()| id));
            }
            SendDecision::AskBus if !must_wait => {}
            SendDecision::AskBus | SendDecision::AwaitWorker => {
                return self.send_later(must_wait.then(|| self.gate.clone()), job);
            }
        }
        match self.host.bus.try_send(job) {
            Ok(sent) => SendOutcome::Done(count_sent(&self.counters, sent).map(|()| id)),
            Err(job) => self.send_later(None, *job),
        }
    }

    fn listener(&self, name: &str) -> Result<OwnedFd, String> {
        self.listeners.duplicate(name)
    }

    fn observe(&self, job_type: &str, elapsed: Duration) {
        let service = worker_service(&self.worker.worker_type);
        self.host.metrics.job_seconds.with_label_values(&[&*service, job_type]).observe(elapsed.as_secs_f64());
    }

    fn set_value(&self, name: &str, value: f64) {
        let service = worker_service(&self.worker.worker_type);
        self.host.metrics.plugin_values.with_label_values(&[&*service, name]).set(value);
    }

    fn panicked(&self, message: &str) {
        self.panic_signal.notify(message);
    }

    fn thread_abandoned(&self, since: Instant) {
        self.abandoned_threads.add(since + self.timeout);
    }

    fn thread_returned(&self, since: Instant) {
        self.abandoned_threads.remove(since + self.timeout);
    }
}

fn count_sent(counters: &WorkerCounters, sent: Result<(), SendError>) -> Result<(), SendError> {
    match &sent {
        Ok(()) => counters.sent_jobs.inc(),
        Err(SendError::NoWorker(_)) => counters.no_worker.inc(),
        Err(_) => {}
    }
    sent
}
