//! Forwarding of a plugin's log to the host's, with the plugin's own levels, targets and fields.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use mshost_core::ids::PluginName;
use mshost_core::metrics::Metrics;
use mshost_plugin_api::abi::{AbiRecord, Host};
use parking_lot::Mutex;
use tracing::callsite::{Callsite, Identifier};
use tracing::field::{FieldSet, Value};
use tracing::level_filters::LevelFilter;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};

use crate::panic_site;

/// The most callsites (target, level, fields) of plugins. Each stays in memory, as `tracing` demands; events of further ones are
/// logged without their own target and fields.
const MAX_CALLSITES: usize = 4_096;

/// The most fields of one event.
const MAX_FIELDS: usize = 32;

/// Prefix of the target of all that plugins log, by which the log's filter finds it.
const TARGET_PREFIX: &str = "plugin";

/// The host as a plugin sees it before it has instances: its log.
pub(crate) struct PluginLog {
    pub(crate) plugin: PluginName,
    pub(crate) metrics: Arc<Metrics>,
}

impl Host for PluginLog {
    fn max_level(&self) -> u8 {
        log_level()
    }

    fn log(&self, record: AbiRecord<'_>) {
        // No panic of the host's own log may reach the plugin's frames.
        let forward = || {
            if record.target.as_str() == panic_site::PANIC_TARGET {
                self.count_panic(&record);
            }
            self.forward(&record);
        };
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(forward));
    }
}

impl PluginLog {
    fn count_panic(&self, record: &AbiRecord<'_>) {
        let thread = record.fields.iter().find(|field| field.0.as_str() == "thread");
        let thread = thread.map(|field| field.1.as_str().trim_matches('"'));
        let site = panic_site::record_panic(record.message.as_str(), thread);
        self.metrics.plugin_panics.with_label_values(&[self.plugin.as_str(), site.name()]).inc();
    }

    fn forward(&self, record: &AbiRecord<'_>) {
        let fields: Vec<_> = record.fields.iter().map(|field| (field.0.as_str(), field.1.as_str())).collect();
        let target = format!("{TARGET_PREFIX}::{}", record.target.as_str());
        emit(&self.plugin, level(record.level), &target, record.message.as_str(), &fields);
    }
}

/// Logs an event of a plugin in another process; `number` is the level, from 1 for an error to 5 for a trace.
pub fn log_event(plugin: &PluginName, number: u8, target: &str, message: &str, fields: &[(String, String)]) {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    emit(plugin, level(number), target, message, &fields);
}

/// The present level of the log, from 0 for nothing to 5 for everything.
pub fn log_level() -> u8 {
    match LevelFilter::current().into_level() {
        None => 0,
        Some(Level::ERROR) => 1,
        Some(Level::WARN) => 2,
        Some(Level::INFO) => 3,
        Some(Level::DEBUG) => 4,
        Some(Level::TRACE) => 5,
    }
}

fn emit(plugin: &PluginName, level: Level, target: &str, message: &str, fields: &[(&str, &str)]) {
    let fields = &fields[..fields.len().min(MAX_FIELDS)];
    let (metadata, whole) = metadata(level, target, fields.iter().map(|(name, _)| *name));
    tracing::dispatcher::get_default(|dispatch| {
        if !dispatch.enabled(metadata) {
            return;
        }
        let plugin = plugin.as_str();
        let mut values: Vec<Option<&dyn Value>> = vec![Some(&message), Some(&plugin)];
        if whole {
            values.extend(fields.iter().map(|(_, text)| Some(text as &dyn Value)));
        }
        dispatch.event(&Event::new(metadata, &metadata.fields().value_set_all(&values)));
    });
}

fn level(number: u8) -> Level {
    match number {
        0 | 1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

/// A callsite made at run time: `tracing` wants a static for each, so they are leaked as they are first met.
struct DynamicCallsite(OnceLock<Metadata<'static>>);

impl Callsite for DynamicCallsite {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0.get_or_init(|| unreachable!("`leak_metadata` sets it before it returns the callsite"))
    }
}

type CallsiteKey = (Level, String, Vec<String>);

/// The metadata for such an event; `false` where it lacks the fields.
fn metadata<'a>(
    level: Level,
    target: &str,
    names: impl Iterator<Item = &'a str>,
) -> (&'static Metadata<'static>, bool) {
    static CALLSITES: OnceLock<Mutex<HashMap<CallsiteKey, &'static Metadata<'static>>>> = OnceLock::new();
    let mut callsites = CALLSITES.get_or_init(Mutex::default).lock();
    let key = (level, target.to_owned(), names.map(str::to_owned).collect::<Vec<_>>());
    if let Some(site) = callsites.get(&key) {
        return (site, true);
    }
    let (key, whole) =
        if callsites.len() < MAX_CALLSITES { (key, true) } else { ((level, TARGET_PREFIX.to_owned(), vec![]), false) };
    (callsites.entry(key.clone()).or_insert_with(|| leak_metadata(&key)), whole)
}

fn leak_metadata((level, target, names): &CallsiteKey) -> &'static Metadata<'static> {
    let leak = |text: &str| -> &'static str { String::leak(text.to_owned()) };
    let names: Vec<&'static str> =
        ["message", "plugin"].into_iter().chain(names.iter().map(|name| leak(name))).collect();
    let site: &'static DynamicCallsite = Box::leak(Box::new(DynamicCallsite(OnceLock::new())));
    site.0.get_or_init(|| {
        let fields = FieldSet::new(Vec::leak(names), Identifier(site));
        Metadata::new("plugin event", leak(target), *level, None, None, None, fields, Kind::EVENT)
    })
}
