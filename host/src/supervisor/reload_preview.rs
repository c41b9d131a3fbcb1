//! Previews a reload: what it would change, without changing anything.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use mshost_core::ids::{PluginName, WorkerType};
use mshost_core::metrics::Metrics;
use mshost_plugin_host::LoadOptions;
use mshost_plugin_host::watch::{FolderError, PluginFolder};
use mshost_topology::{Change, Diagnostics, Isolation, Plan, Slot, Topology};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::canary::candidate::CanaryLauncher;
use super::plugin_store::plugin_entry::{FoundPlugins, NeededPlugins};
use super::plugin_store::plugin_preview::{PluginSummaries, generations, plugin_changes};
use super::plugin_store::store::PluginStore;
use super::reload_report::{bus_change, setting_changes, worker_changes};
use crate::admin::{ReloadReport, RunningHost};

/// What runs, to compare a topology with.
pub(super) struct RunningTopology<'a> {
    pub(super) host: RunningHost,
    pub(super) topology: &'a Topology,
    pub(super) plan: &'a Plan,
    pub(super) is_down: &'a (dyn Fn(&Slot) -> bool + Sync),
}

/// Why a topology cannot be previewed where no host runs.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// Plugins cannot be found.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// There is no place to copy them to.
    #[error("cannot make a folder for copies of the plugins: {0}")]
    Copies(#[from] std::io::Error),
    /// Two metrics have one name, which a test rules out.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// What a host would start for this topology.
///
/// # Errors
/// Where its folder of plugins cannot be read.
pub async fn preview_start(topology: &Topology) -> Result<ReloadReport, PreviewError> {
    let found = PluginFolder::new(&topology.host.plugins).scan()?;
    let copies = tempfile::tempdir()?;
    let metrics = Metrics::new()?;
    let options = LoadOptions::new(Arc::clone(&metrics));
    let tasks = TaskTracker::new();
    let mut plugins =
        PluginStore::new(copies.path().to_owned(), options, metrics, tasks.clone(), CanaryLauncher::new(None, tasks));
    plugins.load_in_parallel(topology.host.parallel_loads);
    Ok(preview(None, topology, &plugins, &found).await)
}

/// What would change.
pub(super) async fn preview(
    running: Option<RunningTopology<'_>>,
    newer: &Topology,
    plugins: &PluginStore,
    found: &FoundPlugins,
) -> ReloadReport {
    // What would be compared by a host that has taken over what it can.
    let settings = running.as_ref().map(|running| running.topology.changed_settings(newer)).unwrap_or_default();
    let taken_over = running.as_ref().map(|running| running.topology.in_effect(newer.clone()));
    let newer = taken_over.as_ref().unwrap_or(newer);
    let needed = needed(newer);
    let before = plugins.summaries();
    let after = plugins.preview(found, &needed).await;
    let (refused, errors) = invalid_workers(newer, &after);
    let nothing = Plan::default();
    let plan = running.as_ref().map_or(&nothing, |running| running.plan);
    let wanted = mshost_topology::plan(newer, &generations(&after));
    let changes = valid_changes(plan, &wanted, &refused);
    let is_down = |slot: &Slot| running.as_ref().is_some_and(|running| (running.is_down)(slot));
    ReloadReport {
        applied: false,
        bus: running.as_ref().and_then(|running| bus_change(&running.topology.bus, &newer.bus)),
        changes: worker_changes(&changes, plan, &wanted, &after, is_down),
        plugins: plugin_changes(&before, &after, &needed),
        settings: setting_changes(settings),
        errors,
        warnings: newer.warnings.as_ref().map(|warnings| warnings.lines().collect()).unwrap_or_default(),
        host: running.map(|running| running.host),
    }
}

/// Reads a topology from its file.
pub(super) fn load_topology(path: &Path) -> Result<Topology, Vec<String>> {
    not_empty(path, mshost_topology::load(path, &|name| std::env::var(name).ok()))
}

/// Reads a topology from a text, as if it stood in the file. Also gives what of the environment it has used.
pub(super) fn parse_topology(path: &Path, text: &str) -> (Result<Topology, Vec<String>>, UsedEnvironment) {
    let used = Mutex::new(Vec::new());
    let environment = |name: &str| {
        let value = std::env::var(name).ok()?;
        used.lock().push((name.to_owned(), value.clone()));
        Some(value)
    };
    let read = not_empty(path, mshost_topology::parse(path, text, &environment));
    (read, UsedEnvironment(used.into_inner()))
}

/// Shorter values of the environment are no secrets, and are part of too many words.
const MIN_SECRET_LENGTH: usize = 4;

/// The variables of the environment that a topology has used, with their values.
pub(super) struct UsedEnvironment(Vec<(String, String)>);

impl UsedEnvironment {
    /// Puts names in place of values: a client that sends a topology must not learn from the report what the environment holds.
    pub(super) fn hide(&self, report: ReloadReport) -> ReloadReport {
        let mut used: Vec<_> = self.0.iter().filter(|(_, value)| value.len() >= MIN_SECRET_LENGTH).collect();
        used.sort_by_key(|(_, value)| Reverse(value.len()));
        let hide = |text: &mut String| {
            for (name, value) in &used {
                *text = text.replace(value.as_str(), &format!("${{{name}}}"));
            }
        };
        let ReloadReport { host, applied, mut bus, mut changes, mut plugins, settings, mut errors, mut warnings } =
            report;
        for change in &mut changes {
            [&mut change.slot, &mut change.worker_type, &mut change.plugin].into_iter().for_each(hide);
            change.reasons.iter_mut().for_each(hide);
        }
        plugins.iter_mut().flat_map(|plugin| [&mut plugin.name, &mut plugin.reason]).for_each(hide);
        bus.iter_mut().flat_map(|bus| [&mut bus.from, &mut bus.to, &mut bus.waiting]).for_each(hide);
        errors.iter_mut().chain(&mut warnings).for_each(hide);
        ReloadReport { host, applied, bus, changes, plugins, settings, errors, warnings }
    }
}

fn not_empty(path: &Path, read: Result<Topology, Diagnostics>) -> Result<Topology, Vec<String>> {
    match read {
        // What an editor that truncates before it writes leaves for a moment, and a full disk for good.
        Ok(newer) if newer.source.shown().trim().is_empty() => {
            let file = path.display();
            Err(vec![format!("{file}: error: the file is empty (to stop every worker, leave `[host]` in it)")])
        }
        Ok(newer) => Ok(newer),
        Err(errors) => Err(errors.lines().collect()),
    }
}

/// The plugins that a topology names.
pub(super) fn needed(topology: &Topology) -> NeededPlugins {
    let mut needed = NeededPlugins::new();
    for worker in &topology.workers {
        let by = needed.entry(worker.plugin.clone()).or_default();
        match worker.isolation {
            Isolation::Thread => by.threads = true,
            Isolation::Process(_) => by.processes = true,
        }
    }
    needed
}

/// Workers that are to stay as they are.
pub(super) type RejectedWorkers = BTreeSet<(WorkerType, PluginName)>;

/// The workers that their plugins would refuse, and why.
pub(super) fn invalid_workers(topology: &Topology, summaries: &PluginSummaries) -> (RejectedWorkers, Vec<String>) {
    let mut refused = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, worker) in topology.workers.iter().enumerate() {
        let Some(info) = summaries.get(&worker.plugin).and_then(|summary| summary.info.as_ref()) else { continue };
        let found = mshost_topology::check_worker(topology, index, info);
        let Some(found) = Diagnostics::new(&topology.source, found) else { continue };
        if found.has_errors() {
            refused.insert((worker.worker_type.clone(), worker.plugin.clone()));
            errors.extend(found.lines());
        }
    }
    (refused, errors)
}

/// The changes from one plan to another but for those of workers that are to stay.
pub(super) fn valid_changes(running: &Plan, wanted: &Plan, refused: &RejectedWorkers) -> Vec<Change> {
    let mut changes = mshost_topology::diff(running, wanted);
    changes.retain(|change| !refused.contains(&(change.slot().worker_type.clone(), change.slot().plugin.clone())));
    changes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::admin::{PluginAction, WorkerAction};

    #[test]
    fn a_text_that_names_a_variable_does_not_get_its_value_shown() {
        // Every process of this test has it.
        let value = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        let text = "[[worker]]\ntype = \"WA\"\nplugin = \"${CARGO_MANIFEST_DIR}\"\nconcurrency = 0\n";
        let (read, used) = parse_topology(Path::new("topology.toml"), text);
        let errors = [read.unwrap_err(), vec![format!("the plugin {value} is missing")]].concat();
        let shown = used.hide(ReloadReport { errors, ..ReloadReport::default() });
        assert!(!shown.errors.concat().contains(&value), "{shown:?}");
        assert_eq!(shown.errors.last().unwrap(), "the plugin ${CARGO_MANIFEST_DIR} is missing");
    }

    #[tokio::test]
    async fn where_nothing_runs_everything_starts_or_waits() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            "[[worker]]\ntype = \"WA\"\nplugin = \"rest\"\ninstances = 2\n[worker.config]\nsecret = \"hunter2\"\n";
        std::fs::create_dir(folder.path().join("plugins")).unwrap();
        std::fs::write(folder.path().join("plugins/librest.so"), "no library").unwrap();
        let topology = mshost_topology::parse(&folder.path().join("topology.toml"), text, &|_| None).unwrap();
        let report = preview_start(&topology).await.unwrap();
        let said = serde_json::to_string(&report).unwrap();
        assert!(!said.contains("hunter2"), "{said}");
        let slots: Vec<_> = report.changes.iter().map(|change| (&*change.slot, change.action)).collect();
        assert_eq!(slots, [("WA[0]", WorkerAction::Wait), ("WA[1]", WorkerAction::Wait)]);
        assert!(report.changes[0].reasons[1].contains("librest.so"), "{said}");
        assert_eq!((report.plugins[0].action, report.has_changes()), (PluginAction::Refused, true));
    }
}
