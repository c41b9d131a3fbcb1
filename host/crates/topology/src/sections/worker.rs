//! Reads `[defaults]` and every `[[worker]]`.

use std::time::Duration;

use serde_json::{Map, Value};
use toml::de::DeValue;

use super::isolation;
use crate::config::{ParkedJobs, RestartPolicy, RetryPolicy, WorkerConfig, WorkerSpans};
use crate::keys::{file, restart, retry, worker};
use crate::plugin_config::{self, ConfigSpans};
use crate::table_reader::TableReader;
use crate::value_node::ValueNode;

/// What a worker has where it says nothing itself.
#[derive(Clone, Copy)]
pub(crate) struct WorkerDefaults {
    concurrency: u16,
    timeout: Duration,
    retry: RetryPolicy,
    deadline: Option<Duration>,
    start_timeout: Duration,
    drain_timeout: Duration,
    restart: RestartPolicy,
    parked: ParkedJobs,
    abandoned_threads: u32,
}

impl Default for WorkerDefaults {
    fn default() -> Self {
        Self {
            concurrency: worker::CONCURRENCY.default,
            timeout: worker::TIMEOUT.default,
            retry: RetryPolicy::DEFAULT,
            deadline: worker::DEADLINE.default,
            start_timeout: worker::START_TIMEOUT.default,
            drain_timeout: worker::DRAIN_TIMEOUT.default,
            restart: RestartPolicy::DEFAULT,
            parked: worker::PARKED.default,
            abandoned_threads: worker::ABANDONED_THREADS.default,
        }
    }
}

impl WorkerDefaults {
    /// Reads the keys that `[defaults]` and `[[worker]]` share; what is left out stays.
    fn read(self, table: &mut TableReader<'_, '_>) -> Self {
        Self {
            concurrency: table.find(&worker::CONCURRENCY).unwrap_or(self.concurrency),
            timeout: table.find(&worker::TIMEOUT).unwrap_or(self.timeout),
            retry: table.table(&worker::RETRY).map_or(self.retry, |table| read_retry(table, self.retry)),
            deadline: table.find(&worker::DEADLINE).unwrap_or(self.deadline),
            start_timeout: table.find(&worker::START_TIMEOUT).unwrap_or(self.start_timeout),
            drain_timeout: table.find(&worker::DRAIN_TIMEOUT).unwrap_or(self.drain_timeout),
            restart: table.table(&worker::RESTART).map_or(self.restart, |table| read_restart(table, self.restart)),
            parked: table.find(&worker::PARKED).unwrap_or(self.parked),
            abandoned_threads: table.find(&worker::ABANDONED_THREADS).unwrap_or(self.abandoned_threads),
        }
    }
}

fn read_retry(mut table: TableReader<'_, '_>, default: RetryPolicy) -> RetryPolicy {
    let policy = RetryPolicy {
        delay: table.find(&retry::DELAY).unwrap_or(default.delay),
        backoff: table.find(&retry::BACKOFF).unwrap_or(default.backoff),
        max_delay: table.find(&retry::MAX_DELAY).unwrap_or(default.max_delay),
        jitter: table.find(&retry::JITTER).unwrap_or(default.jitter),
        max_attempts: table.find(&retry::MAX_ATTEMPTS).unwrap_or(default.max_attempts),
    };
    table.finish();
    policy
}

fn read_restart(mut table: TableReader<'_, '_>, default: RestartPolicy) -> RestartPolicy {
    let policy = RestartPolicy {
        delay: table.find(&restart::DELAY).unwrap_or(default.delay),
        max_delay: table.find(&restart::MAX_DELAY).unwrap_or(default.max_delay),
        jitter: table.find(&restart::JITTER).unwrap_or(default.jitter),
        max_restarts: table.find(&restart::MAX_RESTARTS).unwrap_or(default.max_restarts),
        window: table.find(&restart::WINDOW).unwrap_or(default.window),
    };
    table.finish();
    policy
}

pub(crate) fn read_defaults(mut table: TableReader<'_, '_>) -> WorkerDefaults {
    let defaults = WorkerDefaults::default().read(&mut table);
    table.finish();
    defaults
}

/// Every `[[worker]]` that can be read.
pub(crate) fn read_all(root: &mut TableReader<'_, '_>, defaults: WorkerDefaults) -> Vec<WorkerConfig> {
    let workers = root.node(&file::WORKER).and_then(|node| read_array(&node, defaults));
    workers.unwrap_or_default()
}

fn read_array(node: &ValueNode<'_, '_>, defaults: WorkerDefaults) -> Option<Vec<WorkerConfig>> {
    const WHAT: &str = "an array of tables";
    let array = match node.value.get_ref() {
        DeValue::Array(array) => array,
        DeValue::Table(_) => {
            return node.expected_help(WHAT, "each worker starts with `[[worker]]`, in two pairs of brackets");
        }
        _ => return node.expected_help(WHAT, "each worker starts with a line `[[worker]]`"),
    };
    let most = file::WORKER.kind.most;
    if array.len() > most {
        return node.refuse(format!("there are more than {most} workers"), "too many", None);
    }
    let each = array.iter().map(|value| ValueNode { cx: node.cx, key: node.key, value });
    Some(each.filter_map(|node| read_worker(&node, defaults)).collect())
}

fn read_worker(node: &ValueNode<'_, '_>, defaults: WorkerDefaults) -> Option<WorkerConfig> {
    let mut table = TableReader::of(node, &worker::SECTION)?;
    let worker_type = table.require(&worker::TYPE);
    let plugin = table.require(&worker::PLUGIN);
    let instances = table.read(&worker::INSTANCES);
    let durability = table.find(&worker::DURABILITY);
    let drain_timeout_span = table.node(&worker::DRAIN_TIMEOUT).map(|node| node.span());
    let shared = defaults.read(&mut table);
    let (listen, listen_spans) = table.find(&worker::LISTEN).unwrap_or_default();
    let (isolation, sandbox) = isolation::read(&mut table);
    let config = table.node(&worker::CONFIG).and_then(|node| plugin_config::read(&node));
    let (config, config_spans) = config.unwrap_or_else(|| (Value::Object(Map::new()), ConfigSpans::default()));
    table.finish();
    let (worker_type, plugin) = (worker_type?, plugin?);
    let spans = WorkerSpans {
        header: node.span(),
        worker_type: worker_type.span(),
        plugin: plugin.span(),
        drain_timeout: drain_timeout_span,
        listen: listen_spans,
        config: config_spans,
    };
    Some(WorkerConfig {
        worker_type: worker_type.into_inner(),
        plugin: plugin.into_inner(),
        instances,
        concurrency: shared.concurrency,
        timeout: shared.timeout,
        retry: shared.retry,
        durability,
        deadline: shared.deadline,
        start_timeout: shared.start_timeout,
        drain_timeout: shared.drain_timeout,
        restart: shared.restart,
        parked: shared.parked,
        abandoned_threads: shared.abandoned_threads,
        listen,
        isolation,
        sandbox,
        config,
        spans,
    })
}
