//! Every metric of the host, each declared once.

use std::sync::Arc;

use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::declaration::{DocumentedMetric, MetricDeclaration, MetricKind, metrics};

/// The `service` label of the manager.
pub const MANAGER: &str = "system-manager";

/// Buckets of `microservices_job_processing_seconds`: those of MicroServices.js from 0.01 up, finer ones below.
pub(super) const PROCESSING_BUCKETS: [f64; 11] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0];

metrics! {
    /// Every metric of the host. Cloning shares them.
    #[derive(Debug, Clone)]
    Metrics;

    /// Messages that a worker or the manager received: `service` is `worker-TYPE` or `system-manager`, `type` as in
    /// MicroServices.js (`job_request`, `error`, `worker_registration`, …).
    received: IntCounterVec = MetricDeclaration::new("microservices_messages_received_total", "messages", "Messages received").labels(&["service", "type"]);

    /// Messages that a worker or the manager sent, with the labels of the messages received.
    sent: IntCounterVec = MetricDeclaration::new("microservices_messages_sent_total", "messages", "Messages sent").labels(&["service", "type"]);

    /// Jobs that failed: `job_retry` each time that one is tried again, `job_max_retries_exceeded` when one is given up,
    /// `no_worker_available` when there was no worker for one.
    job_errors: IntCounterVec = MetricDeclaration::new("microservices_job_errors_total", "jobs", "Jobs that failed").labels(&["service", "error_type"]);

    /// Workers that the manager knows, by the type of their jobs.
    workers: IntGaugeVec = MetricDeclaration::new("microservices_workers_total", "workers", "Workers known, by type").labels(&["type"]);

    /// Workers that the manager knows.
    connected_workers: IntGauge = MetricDeclaration::new("microservices_connected_workers", "workers", "Workers known");

    /// Announcements of workers beyond the manager's `max_workers`.
    workers_refused: IntCounter = MetricDeclaration::new("mshost_workers_refused_total", "announcements", "Announcements beyond the manager's limit");

    /// Workers that the manager took for gone because they no longer answered.
    workers_expired: IntCounter = MetricDeclaration::new("mshost_workers_expired_total", "workers", "Workers that no longer answered");

    /// How long a worker's handler took for one attempt at a job; `job_type` is `job_processing`, or what a plugin measures
    /// itself.
    job_seconds: HistogramVec = MetricDeclaration::new("microservices_job_processing_seconds", "seconds", "Time that jobs take").labels(&["service", "job_type"]).buckets(&PROCESSING_BUCKETS);

    /// Reloads: `kind` is `plugin` or `topology`, `outcome` is `applied`, `unchanged` or `failed`.
    reloads: IntCounterVec = MetricDeclaration::new("mshost_reloads_total", "reloads", "Reloads of plugins and topology").labels(&["kind", "outcome"]);

    /// Workers that ran and were to be replaced: `outcome` is `done`, or `failed` where the new one could not start and the
    /// old one goes on.
    swaps: IntCounterVec = MetricDeclaration::new("mshost_swaps_total", "workers", "Workers that were to be replaced").labels(&["worker_type", "outcome"]);

    /// Versions of a plugin that were tried as a canary: `outcome` is `accepted` or `given_up`.
    canaries: IntCounterVec = MetricDeclaration::new("mshost_canaries_total", "versions", "Versions that were on trial").labels(&["plugin", "outcome"]);

    /// The size of the last state that a worker handed to the version that replaced it.
    snapshot_bytes: IntGaugeVec = MetricDeclaration::new("mshost_snapshot_bytes", "bytes", "The last state that was handed over").labels(&["worker_type"]);

    /// How long it took to copy, probe and load one plugin file.
    load_seconds: Histogram = MetricDeclaration::new("mshost_plugin_load_seconds", "seconds", "Time to copy, probe and load one plugin file");

    /// Versions of a plugin that are in memory.
    generations: IntGaugeVec = MetricDeclaration::new("mshost_generations", "versions", "Versions of a plugin in memory").labels(&["plugin"]);

    /// 1 for each plugin whose workers run and whose file a restart would miss.
    plugin_file_gone: IntGaugeVec = MetricDeclaration::new("mshost_plugin_file_gone", "", "1 where a running plugin's file is gone").labels(&["plugin"]);

    /// Libraries of plugins that `dlclose` left mapped; `mapped_limit` in `[host]` bounds them.
    still_mapped: IntCounter = MetricDeclaration::new("mshost_still_mapped_total", "libraries", "Libraries that stayed mapped after unloading");

    /// Keys for thread-locals that the process had left when a plugin was last to be loaded; none is loaded where 64 or fewer
    /// are.
    thread_keys_free: IntGauge = MetricDeclaration::new("mshost_thread_keys_free", "keys", "Keys for thread-locals left at the last load");

    /// Threads that were left behind with a blocking handler that overran its `timeout`, or whose job was given back.
    abandoned_threads: IntGauge = MetricDeclaration::new("mshost_abandoned_threads", "threads", "Threads left behind with a blocking handler");

    /// Panics of plugins: `where` is `load`, `start`, `handle`, `on_error`, `drain`, `stop`, `drop`, `unload`, `task` (on the
    /// plugin's own runtime) or `thread` (of the plugin's own).
    plugin_panics: IntCounterVec = MetricDeclaration::new("mshost_plugin_panics_total", "panics", "Panics of plugins").labels(&["plugin", "where"]);

    /// Attempts at jobs that took longer than `timeout` and were cancelled or abandoned.
    overruns: IntCounterVec = MetricDeclaration::new("mshost_overruns_total", "attempts", "Attempts that took longer than `timeout`").labels(&["type"]);

    /// Instances of workers in each state, as `/api/topology` names it.
    worker_state: IntGaugeVec = MetricDeclaration::new("mshost_worker_state", "workers", "Worker instances by state").labels(&["worker_type", "state"]);

    /// 1 while the bus can be used.
    bus_connected: IntGauge = MetricDeclaration::new("mshost_bus_connected", "", "1 while the bus can be used");

    /// How often the bus came back after it could not be reached.
    bus_reconnects: IntCounter = MetricDeclaration::new("mshost_bus_reconnects_total", "times", "Times the bus came back");

    /// Changes of `[bus]`: `outcome` is `moved`, or `failed` where the new bus could not be used yet.
    bus_moves: IntCounterVec = MetricDeclaration::new("mshost_bus_moves_total", "changes", "Changes of the bus").labels(&["outcome"]);

    /// Jobs that waited on an embedded bus which was left, and were carried over to the new bus.
    bus_carried: IntCounter = MetricDeclaration::new("mshost_bus_carried_total", "jobs", "Jobs that were carried over from a bus that was left");

    /// 1 while the broker is low on memory or disk and takes no messages.
    bus_blocked: IntGauge = MetricDeclaration::new("mshost_bus_blocked", "", "1 while the broker takes no messages");

    /// Messages that were sent and not yet confirmed, when the last was sent.
    bus_in_flight: IntGauge = MetricDeclaration::new("mshost_bus_in_flight", "messages", "Messages sent and not yet confirmed");

    /// Messages that a full queue did not take at once.
    bus_refused: IntCounter = MetricDeclaration::new("mshost_bus_refused_total", "messages", "Messages that a full queue did not take at once");

    /// Jobs that were delivered again and count towards `delivery_limit`.
    bus_redelivered: IntCounter = MetricDeclaration::new("mshost_bus_redelivered_total", "jobs", "Jobs that came again and were counted");

    /// Bad input that was refused: `source` is `bus`, `job`, `notification` or `plugin`, `kind` says in a word what was wrong
    /// with it.
    malformed: IntCounterVec = MetricDeclaration::new("mshost_malformed_total", "inputs", "Bad input that was refused").labels(&["source", "kind"]);

    /// Jobs that this host gave up and kept as dead letters, by the type that they were for; `reason` is `failed`, `expired`,
    /// `no_worker`, `crashed` or `malformed`.
    dead_letters: IntCounterVec = MetricDeclaration::new("mshost_dead_letters_total", "jobs", "Jobs that were given up").labels(&["type", "reason"]);

    /// Dead letters that are kept now; absent while the bus cannot tell.
    dead_letters_kept: IntGaugeVec = MetricDeclaration::new("mshost_dead_letters", "dead letters", "Dead letters that are kept now");

    /// Commits to the journal of the embedded bus that failed; no new jobs are accepted then.
    journal_errors: IntCounter = MetricDeclaration::new("mshost_journal_errors_total", "commits", "Commits to the journal that failed");

    /// 1 while the manager of this host is the one that acts for all hosts on the bus.
    manager_active: IntGauge = MetricDeclaration::new("mshost_manager_active", "", "1 while this host's manager acts for all hosts");

    /// Jobs that wait in a queue.
    queue_ready: IntGaugeVec = MetricDeclaration::new("mshost_queue_ready", "jobs", "Jobs that wait in a queue").labels(&["queue"]);

    /// Jobs between mshost and workers of MicroServices.js: `direction` is `in` from these (`outcome` is `taken`,
    /// `duplicate`, `left`, `refused` or `deferred`) or `out` to them (`taken`, `resent`, `unanswered` or `expired`).
    interop_jobs: IntCounterVec = MetricDeclaration::new("mshost_interop_jobs_total", "jobs", "Jobs to and from workers of the original").labels(&["direction", "outcome"]);

    /// Workers of MicroServices.js that this host has a proxy for, so that jobs can be sent to them.
    interop_proxies: IntGauge = MetricDeclaration::new("mshost_interop_proxies", "workers", "Workers of the original that this host stands in for");

    /// Workers of MicroServices.js beyond `max_proxies`: no job can be sent to them.
    interop_without_proxy: IntGauge = MetricDeclaration::new("mshost_interop_without_proxy", "workers", "Workers of the original that no host stands in for: there are too many");

    /// Types that both mshost and MicroServices.js serve, which is a mistake of the setup.
    interop_mixed_types: IntGauge = MetricDeclaration::new("mshost_interop_mixed_types", "types", "Types that both mshost and the original serve");

    /// Processes of isolated workers that ended without being told to: `cause` is `signal`, `exit`, `memory`, `cpu_time` or
    /// `stuck`.
    process_deaths: IntCounterVec = MetricDeclaration::new("mshost_process_deaths_total", "processes", "Processes of isolated workers that ended without being told to").labels(&["worker_type", "cause"]);

    /// What plugins count themselves, by name.
    plugin_values: GaugeVec = MetricDeclaration::new("mshost_plugin_value", "as the plugin says", "What plugins count themselves").labels(&["service", "name"]);
}

impl Metrics {
    /// All metrics, at zero, in a registry of their own.
    ///
    /// # Errors
    /// Where two metrics have one name, which a test rules out.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Self::register_all(registry).map(Arc::new)
    }

    /// Everything in Prometheus's text format.
    ///
    /// # Errors
    /// Where a metric cannot be written as text.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// The `service` label of a worker: `worker-WB`.
#[must_use]
pub fn worker_service(worker_type: &str) -> String {
    format!("worker-{worker_type}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_registered_as_it_is_declared() {
        let metrics = Metrics::new().unwrap();
        let registered = metrics.descriptions();
        assert_eq!(registered.len(), DECLARED.len());
        for (described, declared) in registered.iter().zip(DECLARED) {
            let [described] = described.as_slice() else { panic!("{described:?}") };
            assert_eq!(described.fq_name, declared.declaration.name);
            assert_eq!(described.help, declared.declaration.help);
            assert_eq!(described.variable_labels, declared.declaration.labels);
        }
    }

    #[test]
    fn names_tell_the_kind() {
        for metric in DECLARED {
            let name = metric.declaration.name;
            // `microservices_workers_total` is a gauge in MicroServices.js, too.
            let is_total = name.ends_with("_total") && name != "microservices_workers_total";
            assert_eq!(is_total, metric.kind == "counter", "{name}");
            assert_eq!(name.ends_with("_seconds"), metric.kind == "histogram", "{name}");
            assert!(!metric.doc.concat().trim().is_empty() && !metric.declaration.help.is_empty(), "{name}");
        }
    }
}
