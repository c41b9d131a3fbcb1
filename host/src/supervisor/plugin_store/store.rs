//! The store of plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use mshost_core::ids::{GenerationId, PluginName};
use mshost_core::metrics::Metrics;
use mshost_plugin_host::LoadOptions;
use mshost_plugin_host::watch::{FileProblem, PluginFile};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::lease::Lease;
use super::plugin_entry::{FoundPlugins, LoadPurpose, NeededPlugins, PluginEntry};
use super::plugin_loading::load;
use crate::supervisor::canary::candidate::{CanaryCandidate, CanaryLauncher};
use crate::supervisor::canary::evaluation::CanaryEvaluation;
use crate::supervisor::canary::verdict::CanaryVerdict;

const TARGET: &str = "mshost::plugin";

/// All plugins: the files in the folder, what is loaded from them, and why something is not.
pub(crate) struct PluginStore {
    entries: BTreeMap<PluginName, PluginEntry>,
    generations: u64,
    parallel_loads: usize,
    state: PathBuf,
    options: LoadOptions,
    metrics: Arc<Metrics>,
    retirements: TaskTracker,
    launcher: CanaryLauncher,
}

impl PluginStore {
    pub(crate) fn new(
        state: PathBuf,
        options: LoadOptions,
        metrics: Arc<Metrics>,
        retirements: TaskTracker,
        launcher: CanaryLauncher,
    ) -> Self {
        Self {
            entries: BTreeMap::new(),
            generations: 0,
            parallel_loads: 1,
            state,
            options,
            metrics,
            retirements,
            launcher,
        }
    }

    pub(crate) fn entries(&self) -> &BTreeMap<PluginName, PluginEntry> {
        &self.entries
    }

    /// The version of each plugin that workers are to run.
    pub(crate) fn generations(&self) -> BTreeMap<PluginName, GenerationId> {
        self.entries.iter().filter_map(|(name, entry)| Some((name.clone(), entry.current.as_ref()?.id()))).collect()
    }

    /// The latest number of a version.
    pub(crate) fn latest(&self) -> GenerationId {
        GenerationId(self.generations)
    }

    /// Where copies are made.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn options(&self) -> &LoadOptions {
        &self.options
    }

    /// How many files are copied, tried and loaded at a time.
    pub(crate) fn parallel_loads(&self) -> usize {
        self.parallel_loads
    }

    /// See [`PluginStore::parallel_loads`].
    pub(crate) fn load_in_parallel(&mut self, files: usize) {
        self.parallel_loads = files.max(1);
    }

    pub(crate) fn lease(&self, name: &PluginName) -> Option<Lease> {
        self.entries.get(name)?.current.clone()
    }

    /// The canary evaluation of the version that workers are to run, while there is one.
    pub(crate) fn canary(&self, name: &PluginName) -> Option<Arc<CanaryEvaluation>> {
        self.entries.get(name)?.canary.as_ref().map(|candidate| Arc::clone(candidate.evaluation()))
    }

    /// Notified when there is a canary verdict: [`PluginStore::apply_verdicts`] is due.
    pub(crate) fn canary_decided(&self) -> Arc<Notify> {
        self.launcher.decided()
    }

    /// Applies the verdicts of canary evaluations. The file of a version that was rejected is not tried again.
    pub(crate) fn apply_verdicts(&mut self) {
        for (name, entry) in &mut self.entries {
            let Some(verdict) = entry.canary.as_ref().and_then(CanaryCandidate::verdict) else { continue };
            let Some(candidate) = entry.canary.take() else { continue };
            let outcome = match verdict {
                CanaryVerdict::Accepted(numbers) => {
                    tracing::info!(target: TARGET, plugin = %name, generation = %candidate.evaluation().generation(), "accepted: {numbers}");
                    "accepted"
                }
                CanaryVerdict::Rejected(why) => {
                    entry.go_back(candidate.into_before());
                    entry.refuse(name, format!("the new version was given up on trial: {why}"));
                    "given_up"
                }
            };
            self.metrics.canaries.with_label_values(&[name.as_str(), outcome]).inc();
        }
    }

    /// Takes note of the files in the folder now, loads what is new and needed, and releases what no worker needs.
    pub(crate) async fn refresh(&mut self, found: FoundPlugins, needed: &NeededPlugins) {
        self.note_missing(&found, needed);
        let mut jobs = Vec::new();
        for (name, file) in found {
            let entry = self.entries.entry(name.clone()).or_default();
            let file = match file {
                Ok(file) => file,
                // The watcher tells when it is whole.
                Err(FileProblem::Changing { .. }) => continue,
                Err(problem) => {
                    if entry.refuse(&name, problem.to_string()) {
                        self.metrics.reloads.with_label_values(&["plugin", "failed"]).inc();
                        self.metrics.malformed.with_label_values(&["plugin", problem.kind()]).inc();
                    }
                    // Whatever lies there next is looked at, or this complaint would outlive its cause.
                    entry.last_tried = None;
                    continue;
                }
            };
            let purpose = LoadPurpose::of(&name, needed);
            entry.file = Some(file.clone());
            if entry.has_tried(&file, purpose) {
                continue;
            }
            entry.last_tried = Some((file.fingerprint, purpose));
            self.generations += 1;
            jobs.push((name, file, purpose, GenerationId(self.generations)));
        }
        self.load_all(jobs).await;
    }

    fn note_missing(&mut self, found: &FoundPlugins, needed: &NeededPlugins) {
        for (name, entry) in &mut self.entries {
            if !needed.contains_key(name) && entry.current.take().is_some() {
                tracing::info!(target: TARGET, plugin = %name, "no worker of the topology needs it any more");
                entry.last_tried = None;
                entry.canary = None;
            }
            if !found.contains_key(name) && entry.file.take().is_some() {
                entry.last_tried = None;
                entry.error = None;
                if entry.current.is_some() {
                    tracing::warn!(target: TARGET, plugin = %name, "the file is gone: its workers keep running, but a restart of the host would miss it");
                } else {
                    tracing::info!(target: TARGET, plugin = %name, "the file is gone");
                }
            }
        }
        self.entries.retain(|name, entry| found.contains_key(name) || entry.current.is_some());
    }

    async fn load_all(&mut self, jobs: Vec<(PluginName, PluginFile, LoadPurpose, GenerationId)>) {
        let (state, options, metrics) = (&self.state, &self.options, &self.metrics);
        let loaded: Vec<_> = futures::stream::iter(jobs)
            .map(|(name, file, purpose, id)| async move {
                let began = Instant::now();
                let outcome = load(&name, file, purpose, id, state, options).await;
                metrics.load_seconds.observe(began.elapsed().as_secs_f64());
                (name, outcome)
            })
            .buffer_unordered(self.parallel_loads())
            .collect()
            .await;
        for (name, outcome) in loaded {
            let outcome_label = if outcome.is_ok() { "applied" } else { "failed" };
            self.metrics.reloads.with_label_values(&["plugin", outcome_label]).inc();
            let entry = self.entries.entry(name.clone()).or_default();
            match outcome {
                Ok((info, loaded)) => entry.accept(&name, info, loaded, &self.retirements, &self.launcher),
                Err(error) => {
                    self.metrics.malformed.with_label_values(&["plugin", error.kind()]).inc();
                    entry.refuse(&name, error.to_string());
                }
            }
        }
    }
}
