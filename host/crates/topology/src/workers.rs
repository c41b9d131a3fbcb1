//! `[defaults]` and `[[worker]]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use mshost_core::ids::{PluginName, WorkerType};
use serde_json::Value;
use toml::de::DeValue;

use super::config::{ParkedJobs, RestartPolicy, RetryPolicy, WorkerConfig, WorkerSpans};
use super::isolation::isolation;
use super::json::{self, ConfigSpans};
use super::sections::{DURABILITIES, place_of};
use super::values::{address, duration, duration_or_off, integer, number, one_of, positive_duration, text};
use super::walk::{Fields, Node, Span};

/// More instances of one worker are surely a mistake; each costs a task and a queue.
const MAX_INSTANCES: u32 = 1_000;
const MAX_ATTEMPTS: u32 = 1_000;
/// Restarts are remembered for as long as `window`, each.
const MAX_RESTARTS: u32 = 1_000;
/// More threads that never come back are surely a mistake.
const MAX_ABANDONED: u32 = 1_000;
/// More `[[worker]]` entries than anybody writes by hand.
const MAX_WORKERS: usize = 1_000;
/// More sockets than one worker has names for.
const MAX_LISTEN: usize = 64;
/// The longest plugin name: with `lib` and `.so` it must fit a file name.
const MAX_PLUGIN_NAME: usize = 200;

/// What a worker has where it says nothing itself.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
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

impl Default for Defaults {
    fn default() -> Self {
        Self {
            concurrency: 64,
            timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            deadline: Some(Duration::from_secs(60 * 60)),
            start_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            restart: RestartPolicy::default(),
            parked: ParkedJobs::default(),
            abandoned_threads: 4,
        }
    }
}

impl Defaults {
    /// Reads the keys that `[defaults]` and `[[worker]]` share; what is left out stays.
    fn read(self, fields: &mut Fields<'_, '_>) -> Self {
        Self {
            concurrency: fields.take("concurrency", integer(1..=u16::MAX)).unwrap_or(self.concurrency),
            timeout: fields.take("timeout", positive_duration).unwrap_or(self.timeout),
            retry: fields.take("retry", |node| retry(node, self.retry)).unwrap_or(self.retry),
            deadline: fields.take("deadline", duration_or_off).unwrap_or(self.deadline),
            start_timeout: fields.take("start_timeout", duration).unwrap_or(self.start_timeout),
            drain_timeout: fields.take("drain_timeout", duration).unwrap_or(self.drain_timeout),
            restart: fields.take("restart", |node| restart(node, self.restart)).unwrap_or(self.restart),
            parked: fields
                .take("parked", one_of(&[("wait", ParkedJobs::Wait), ("fail", ParkedJobs::Fail)]))
                .unwrap_or(self.parked),
            abandoned_threads: fields
                .take("abandoned_threads", integer(1..=MAX_ABANDONED))
                .unwrap_or(self.abandoned_threads),
        }
    }
}

fn retry(node: &Node<'_, '_>, default: RetryPolicy) -> Option<RetryPolicy> {
    let mut retry = Fields::of(node, "`retry`")?;
    let policy = RetryPolicy {
        delay: retry.take("delay", duration).unwrap_or(default.delay),
        backoff: retry.take("backoff", number(1.0..=100.0)).unwrap_or(default.backoff),
        max_delay: retry.take("max_delay", duration).unwrap_or(default.max_delay),
        jitter: retry.take("jitter", number(0.0..=1.0)).unwrap_or(default.jitter),
        max_attempts: retry.take("max_attempts", integer(1..=MAX_ATTEMPTS)).unwrap_or(default.max_attempts),
    };
    retry.finish(|_| None);
    Some(policy)
}

fn restart(node: &Node<'_, '_>, default: RestartPolicy) -> Option<RestartPolicy> {
    let mut restart = Fields::of(node, "`restart`")?;
    let policy = RestartPolicy {
        delay: restart.take("delay", duration).unwrap_or(default.delay),
        max_delay: restart.take("max_delay", duration).unwrap_or(default.max_delay),
        jitter: restart.take("jitter", number(0.0..=1.0)).unwrap_or(default.jitter),
        max_restarts: restart.take("max_restarts", max_restarts).unwrap_or(default.max_restarts),
        window: restart.take("window", positive_duration).unwrap_or(default.window),
    };
    restart.finish(|_| None);
    Some(policy)
}

/// A number, or `"off"`.
fn max_restarts(node: &Node<'_, '_>) -> Option<Option<u32>> {
    match node.text() {
        Some(Ok(text)) if text == "off" => Some(None),
        Some(Ok(_)) if !node.is_filled_in() => {
            node.expected_help(&format!("a whole number from 0 to {MAX_RESTARTS}"), "write \"off\" for no limit")
        }
        _ => integer(0..=MAX_RESTARTS)(node).map(Some),
    }
}

pub(super) fn defaults(fields: Option<Fields<'_, '_>>) -> Defaults {
    let Some(mut fields) = fields else { return Defaults::default() };
    let defaults = Defaults::default().read(&mut fields);
    fields.finish(place_of);
    defaults
}

/// Every `[[worker]]` that could be read.
pub(super) fn workers(node: &Node<'_, '_>, defaults: Defaults) -> Option<Vec<WorkerConfig>> {
    const WHAT: &str = "an array of tables";
    let array = match node.value.get_ref() {
        DeValue::Array(array) => array,
        DeValue::Table(_) => {
            return node.expected_help(WHAT, "each worker starts with `[[worker]]`, in two pairs of brackets");
        }
        _ => return node.expected_help(WHAT, "each worker starts with a line `[[worker]]`"),
    };
    if array.len() > MAX_WORKERS {
        return node.refuse(format!("there are more than {MAX_WORKERS} workers"), "too many", None);
    }
    let each = array.iter().map(|value| Node { cx: node.cx, key: "worker", value });
    Some(each.filter_map(|node| worker(&node, defaults)).collect())
}

fn worker(node: &Node<'_, '_>, defaults: Defaults) -> Option<WorkerConfig> {
    let mut fields = Fields::of(node, "[[worker]]")?;
    let worker_type =
        fields.require("type", "the type of the jobs that it takes, such as `type = \"WB\"`", worker_type);
    let plugin =
        fields.require("plugin", "the plugin's name, such as `plugin = \"db\"` for `plugins/libdb.so`", plugin_name);
    let instances = fields.take("instances", integer(1..=MAX_INSTANCES)).unwrap_or(1);
    let durability = fields.take("durability", one_of(DURABILITIES));
    let drain_timeout_span = fields.node("drain_timeout").map(|node| node.span());
    let common = defaults.read(&mut fields);
    let (listen, listen_spans) = fields.take("listen", listen).unwrap_or_default();
    let (isolation, sandbox) = isolation(&mut fields);
    let (config, config_spans) = fields
        .take("config", json::config)
        .unwrap_or_else(|| (Value::Object(serde_json::Map::new()), ConfigSpans::default()));
    fields.finish(place_of);
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
        concurrency: common.concurrency,
        timeout: common.timeout,
        retry: common.retry,
        durability,
        deadline: common.deadline,
        start_timeout: common.start_timeout,
        drain_timeout: common.drain_timeout,
        restart: common.restart,
        parked: common.parked,
        abandoned_threads: common.abandoned_threads,
        listen,
        isolation,
        sandbox,
        config,
        spans,
    })
}

fn worker_type(node: &Node<'_, '_>) -> Option<WorkerType> {
    let text = text(node)?;
    let help = text.strip_suffix(":*").map(|kind| format!("the `:*` belongs into addresses; write \"{kind}\""));
    WorkerType::new(&text).map_or_else(|error| node.refuse(format!("`type`: {error}"), "not a worker type", help), Some)
}

fn plugin_name(node: &Node<'_, '_>) -> Option<PluginName> {
    let text = text(node)?;
    let fits = !text.is_empty()
        && text.len() <= MAX_PLUGIN_NAME
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !text.starts_with('.');
    let file = text.rsplit('/').next().unwrap_or_default();
    match (PluginName::of_file_name(file), fits) {
        (Some(name), _) => node.refuse(
            "`plugin` is a name, not a file",
            "not a name",
            Some(format!("write \"{name}\"; the folder is `plugins` in [host]")),
        ),
        (None, true) => Some(PluginName::new(&text)),
        (None, false) => node.refuse(
            format!(
                "`plugin`: a name has 1 to {MAX_PLUGIN_NAME} letters, digits, `_`, `-` or `.`, and no `.` at its start"
            ),
            "not a plugin's name",
            None,
        ),
    }
}

type Listen = (BTreeMap<String, SocketAddr>, BTreeMap<String, Span>);

fn listen(node: &Node<'_, '_>) -> Option<Listen> {
    let DeValue::Table(table) = node.value.get_ref() else {
        return node.expected_help(
            "a table of named addresses",
            "write `listen = { http = \"127.0.0.1:8080\" }` with the name that the plugin asks for",
        );
    };
    if table.len() > MAX_LISTEN {
        return node.refuse(format!("there are more than {MAX_LISTEN} addresses"), "too many", None);
    }
    let (mut addresses, mut spans) = Listen::default();
    for (name, value) in table {
        let name = name.get_ref();
        if let Some(address) = address(&Node { cx: node.cx, key: name, value }) {
            addresses.insert(name.to_string(), address);
            spans.insert(name.to_string(), value.span());
        }
    }
    Some((addresses, spans))
}
