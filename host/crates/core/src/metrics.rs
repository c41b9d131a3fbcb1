//! What is counted. The `microservices_*` names and labels are the original's, kept exactly; ours begin with `mshost_`.

mod transfer;

use std::sync::Arc;

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

pub use transfer::{Exporter, Sample};

/// The `service` label of the manager.
pub const MANAGER: &str = "system-manager";

/// Buckets of `microservices_job_processing_seconds`: the original's from 0.01 up, finer ones below.
const PROCESSING_BUCKETS: [f64; 11] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0];

/// Every metric of the host. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// `microservices_messages_received_total{service,type}`
    pub received: IntCounterVec,
    /// `microservices_messages_sent_total{service,type}`
    pub sent: IntCounterVec,
    /// `microservices_job_errors_total{service,error_type}`
    pub job_errors: IntCounterVec,
    /// `microservices_workers_total{type}`
    pub workers: IntGaugeVec,
    /// `microservices_connected_workers`
    pub connected_workers: IntGauge,
    /// `mshost_workers_refused_total`: announcements beyond the manager's `max_workers`.
    pub workers_refused: IntCounter,
    /// `mshost_workers_expired_total`: workers that no longer answered the manager.
    pub workers_expired: IntCounter,
    /// `microservices_job_processing_seconds{service,job_type}`
    pub job_seconds: HistogramVec,
    /// `mshost_reloads_total{kind,outcome}`: kind is `plugin` or `topology`; outcome `applied`, `unchanged` or `failed`.
    pub reloads: IntCounterVec,
    /// `mshost_swaps_total{worker_type,outcome}`: a worker that ran was to be replaced. The outcome is `done`, or `failed` where
    /// the new one could not take its place and the old one goes on.
    pub swaps: IntCounterVec,
    /// `mshost_canaries_total{plugin,outcome}`: versions that were on trial, `accepted` or `given_up`.
    pub canaries: IntCounterVec,
    /// `mshost_snapshot_bytes{worker_type}`: the last state that was handed over.
    pub snapshot_bytes: IntGaugeVec,
    /// `mshost_plugin_load_seconds`: copy, probe and load of one plugin file.
    pub load_seconds: Histogram,
    /// `mshost_generations{plugin}`: versions of a plugin in memory.
    pub generations: IntGaugeVec,
    /// `mshost_plugin_file_gone{plugin}`: 1 for each plugin whose workers run and whose file a restart would miss.
    pub plugin_file_gone: IntGaugeVec,
    /// `mshost_still_mapped_total`: libraries that dlclose left mapped.
    pub still_mapped: IntCounter,
    /// `mshost_thread_keys_free`: keys for thread-locals that the process had left when a plugin was last to be loaded; none is
    /// loaded where 64 or fewer are.
    pub thread_keys_free: IntGauge,
    /// `mshost_abandoned_threads`: threads that were left behind with a blocking handler that overran or whose job was
    /// given back.
    pub abandoned_threads: IntGauge,
    /// `mshost_plugin_panics_total{plugin,where}`: where is `load`, `start`, `handle`, `on_error`, `drain`, `stop`, `drop`,
    /// `unload`, `task` (on the plugin's own runtime) or `thread` (of the plugin's own).
    pub plugin_panics: IntCounterVec,
    /// `mshost_overruns_total{type}`: attempts that took longer than `timeout` and were cancelled or abandoned.
    pub overruns: IntCounterVec,
    /// `mshost_worker_state{worker_type,state}`: instances in each state.
    pub worker_state: IntGaugeVec,
    /// `mshost_bus_connected`: 1 while the bus can be used.
    pub bus_connected: IntGauge,
    /// `mshost_bus_reconnects_total`
    pub bus_reconnects: IntCounter,
    /// `mshost_bus_moves_total{outcome}`: changes of `[bus]`; `moved`, or `failed` where the new bus could not be used yet.
    pub bus_moves: IntCounterVec,
    /// `mshost_bus_carried_total`: jobs that waited on an embedded bus which was left, and were carried over.
    pub bus_carried: IntCounter,
    /// `mshost_bus_blocked`: 1 while the broker is low on memory or disk and takes no messages.
    pub bus_blocked: IntGauge,
    /// `mshost_bus_in_flight`: messages sent and not yet confirmed, when the last was sent.
    pub bus_in_flight: IntGauge,
    /// `mshost_bus_refused_total`: messages that a full queue did not take at once.
    pub bus_refused: IntCounter,
    /// `mshost_bus_redelivered_total`: jobs that came again and were counted.
    pub bus_redelivered: IntCounter,
    /// `mshost_malformed_total{source,kind}`: bad input that was refused (bus messages, HTTP requests, plugin files, topology).
    pub malformed: IntCounterVec,
    /// `mshost_dead_letters_total{type,reason}`: jobs that this host gave up, by the type that they were for.
    pub dead_letters: IntCounterVec,
    /// `mshost_dead_letters`: dead letters that are kept now; absent while the bus cannot tell.
    pub dead_letters_kept: IntGaugeVec,
    /// `mshost_journal_errors_total`: commits of the embedded bus's journal that failed; no new jobs are accepted then.
    pub journal_errors: IntCounter,
    /// `mshost_manager_active`: 1 while this host's manager is the one that acts for all hosts on the bus.
    pub manager_active: IntGauge,
    /// `mshost_queue_ready{queue}`: jobs that wait.
    pub queue_ready: IntGaugeVec,
    /// `mshost_interop_jobs_total{direction,outcome}`: jobs between mshost and workers of the original, `in` from these and
    /// `out` to them. The outcomes are those of `interop::Tally`.
    pub interop_jobs: IntCounterVec,
    /// `mshost_interop_proxies`: workers of the original that this host stands in for.
    pub interop_proxies: IntGauge,
    /// `mshost_interop_without_proxy`: workers of the original beyond the number that a host can stand in for: nobody can send
    /// to them.
    pub interop_without_proxy: IntGauge,
    /// `mshost_interop_mixed_types`: types that both mshost and the original serve, which is an error of the setup.
    pub interop_mixed_types: IntGauge,
    /// `mshost_process_deaths_total{worker_type,cause}`: processes of isolated workers that ended without being told to; the
    /// cause is `signal`, `exit`, `memory`, `cpu_time` or `stuck`.
    pub process_deaths: IntCounterVec,
    /// `mshost_plugin_value{service,name}`: what plugins count themselves.
    pub plugin_values: GaugeVec,
}

impl Metrics {
    /// All metrics, at zero, in a registry of their own.
    ///
    /// # Errors
    /// Where two metrics have one name, which a test rules out.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let job_seconds = HistogramVec::new(
            HistogramOpts::new("microservices_job_processing_seconds", "Time that jobs take")
                .buckets(PROCESSING_BUCKETS.to_vec()),
            &["service", "job_type"],
        )?;
        registry.register(Box::new(job_seconds.clone()))?;
        let load_seconds = Histogram::with_opts(HistogramOpts::new(
            "mshost_plugin_load_seconds",
            "Time to copy, probe and load one plugin file",
        ))?;
        registry.register(Box::new(load_seconds.clone()))?;
        let plugin_values =
            GaugeVec::new(Opts::new("mshost_plugin_value", "What plugins count themselves"), &["service", "name"])?;
        registry.register(Box::new(plugin_values.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Arc::new(Self {
            received: counters("microservices_messages_received_total", "Messages received", &["service", "type"])?,
            sent: counters("microservices_messages_sent_total", "Messages sent", &["service", "type"])?,
            job_errors: counters("microservices_job_errors_total", "Jobs that failed", &["service", "error_type"])?,
            workers: gauges("microservices_workers_total", "Workers known, by type", &["type"])?,
            connected_workers: gauge("microservices_connected_workers", "Workers known")?,
            workers_refused: counter("mshost_workers_refused_total", "Announcements beyond the manager's limit")?,
            workers_expired: counter("mshost_workers_expired_total", "Workers that no longer answered")?,
            job_seconds,
            reloads: counters("mshost_reloads_total", "Reloads of plugins and topology", &["kind", "outcome"])?,
            load_seconds,
            swaps: counters("mshost_swaps_total", "Workers that were to be replaced", &["worker_type", "outcome"])?,
            canaries: counters("mshost_canaries_total", "Versions that were on trial", &["plugin", "outcome"])?,
            snapshot_bytes: gauges("mshost_snapshot_bytes", "The last state that was handed over", &["worker_type"])?,
            generations: gauges("mshost_generations", "Versions of a plugin in memory", &["plugin"])?,
            plugin_file_gone: gauges(
                "mshost_plugin_file_gone",
                "1 where a running plugin's file is gone",
                &["plugin"],
            )?,
            still_mapped: counter("mshost_still_mapped_total", "Libraries that stayed mapped after unloading")?,
            thread_keys_free: gauge("mshost_thread_keys_free", "Keys for thread-locals left at the last load")?,
            abandoned_threads: gauge("mshost_abandoned_threads", "Threads left behind with a blocking handler")?,
            plugin_panics: counters("mshost_plugin_panics_total", "Panics of plugins", &["plugin", "where"])?,
            overruns: counters("mshost_overruns_total", "Attempts that took longer than `timeout`", &["type"])?,
            worker_state: gauges("mshost_worker_state", "Worker instances by state", &["worker_type", "state"])?,
            bus_connected: gauge("mshost_bus_connected", "1 while the bus can be used")?,
            bus_reconnects: counter("mshost_bus_reconnects_total", "Times the bus came back")?,
            bus_moves: counters("mshost_bus_moves_total", "Changes of the bus", &["outcome"])?,
            bus_carried: counter("mshost_bus_carried_total", "Jobs that were carried over from a bus that was left")?,
            bus_blocked: gauge("mshost_bus_blocked", "1 while the broker takes no messages")?,
            bus_in_flight: gauge("mshost_bus_in_flight", "Messages sent and not yet confirmed")?,
            bus_refused: counter("mshost_bus_refused_total", "Messages that a full queue did not take at once")?,
            bus_redelivered: counter("mshost_bus_redelivered_total", "Jobs that came again and were counted")?,
            malformed: counters("mshost_malformed_total", "Bad input that was refused", &["source", "kind"])?,
            dead_letters: counters("mshost_dead_letters_total", "Jobs that were given up", &["type", "reason"])?,
            dead_letters_kept: gauges("mshost_dead_letters", "Dead letters that are kept now", &[])?,
            journal_errors: counter("mshost_journal_errors_total", "Commits to the journal that failed")?,
            manager_active: gauge("mshost_manager_active", "1 while this host's manager acts for all hosts")?,
            queue_ready: gauges("mshost_queue_ready", "Jobs that wait in a queue", &["queue"])?,
            interop_jobs: counters(
                "mshost_interop_jobs_total",
                "Jobs to and from workers of the original",
                &["direction", "outcome"],
            )?,
            interop_proxies: gauge("mshost_interop_proxies", "Workers of the original that this host stands in for")?,
            interop_without_proxy: gauge(
                "mshost_interop_without_proxy",
                "Workers of the original that no host stands in for: there are too many",
            )?,
            interop_mixed_types: gauge("mshost_interop_mixed_types", "Types that both mshost and the original serve")?,
            process_deaths: counters(
                "mshost_process_deaths_total",
                "Processes of isolated workers that ended without being told to",
                &["worker_type", "cause"],
            )?,
            plugin_values,
            registry,
        }))
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
