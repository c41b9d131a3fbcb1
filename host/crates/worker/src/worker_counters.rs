//! The metrics of one worker, looked up once instead of at each job.

use mshost_core::ids::WorkerType;
use mshost_core::metrics::{Metrics, worker_service};
use prometheus::{Histogram, IntCounter};

/// The metrics of one worker.
pub(super) struct WorkerCounters {
    pub(super) sent_jobs: IntCounter,
    pub(super) sent_registrations: IntCounter,
    pub(super) sent_keepalives: IntCounter,
    pub(super) received_jobs: IntCounter,
    pub(super) activated: IntCounter,
    pub(super) received_errors: IntCounter,
    pub(super) retried: IntCounter,
    pub(super) given_up: IntCounter,
    pub(super) no_worker: IntCounter,
    pub(super) overrun: IntCounter,
    pub(super) seconds: Histogram,
}

impl WorkerCounters {
    pub(super) fn new(metrics: &Metrics, kind: &WorkerType) -> Self {
        let service = &*worker_service(kind);
        let sent = |what| metrics.sent.with_label_values(&[service, what]);
        let received = |what| metrics.received.with_label_values(&[service, what]);
        let errors = |what| metrics.job_errors.with_label_values(&[service, what]);
        // What only pools of MicroServices.js bring about stands at 0, for dashboards that add it up; so does `job_ack` until one
        // of its workers takes a job (the crate `msjs` counts it).
        for kind in ["job_ack", "worker_removal", "worker_list_update"] {
            received(kind);
        }
        sent("worker_list_update");
        Self {
            sent_jobs: sent("job_request"),
            sent_registrations: sent("worker_registration"),
            sent_keepalives: sent("keepalive_response"),
            received_jobs: received("job_request"),
            activated: received("job_activated"),
            received_errors: received("error"),
            retried: errors("job_retry"),
            given_up: errors("job_max_retries_exceeded"),
            no_worker: errors("no_worker_available"),
            overrun: metrics.overruns.with_label_values(&[&**kind]),
            seconds: metrics.job_seconds.with_label_values(&[service, "job_processing"]),
        }
    }
}
