//! The plugins: what lies in the folder, what is loaded from it, and why something is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use mshost_core::ids::{GenerationId, PluginName};
use mshost_core::metrics::Metrics;
use mshost_plugin_host::watch::{FileProblem, Fingerprint, PluginFile};
use mshost_plugin_host::{Generation, LoadError, LoadOptions, PluginInfo, ShadowCopy, probe};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::canary::{Canaries, OnTrial};
use super::lease::{Lease, Loaded, WeakLease};
use super::trial::{Decision, Trial};
use crate::admin::Complaint;

const TARGET: &str = "mshost::plugin";

/// One plugin, by its name.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Its file, as it was when it was last looked at; `None` once it is gone.
    pub(super) file: Option<PluginFile>,
    /// What was learnt from the file.
    pub(super) info: Option<PluginInfo>,
    /// The version that workers are to run.
    pub(super) current: Option<Lease>,
    /// Why the file, as it is now, is not what runs.
    pub(super) error: Option<Complaint>,
    /// The trial of the version that workers are to run.
    trial: Option<OnTrial>,
    /// Older versions, some of which may still finish their jobs.
    replaced: Vec<WeakLease>,
    /// What the file looked like when it was last probed or loaded.
    tried: Option<(Fingerprint, Purpose)>,
}

/// A file that no worker of the topology names is looked at, so that its errors show, but not loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Look,
    Run(Use),
}

/// Who runs a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Use {
    /// Workers on threads of the host.
    pub(super) threads: bool,
    /// Workers in processes of their own: the host itself does not load it for them.
    pub(super) processes: bool,
}

/// The plugins that workers of the topology name.
pub(super) type Needed = BTreeMap<PluginName, Use>;

impl Purpose {
    pub(super) fn of(name: &PluginName, needed: &Needed) -> Self {
        needed.get(name).map_or(Self::Look, |by| Self::Run(*by))
    }
}

/// What lies in the folder.
pub(super) type Found = BTreeMap<PluginName, Result<PluginFile, FileProblem>>;

/// All plugins.
pub(super) struct Shelf {
    entries: BTreeMap<PluginName, Entry>,
    generations: u64,
    parallel_loads: usize,
    state: PathBuf,
    options: LoadOptions,
    metrics: Arc<Metrics>,
    retirements: TaskTracker,
    canaries: Canaries,
}

impl Shelf {
    pub(super) fn new(
        state: PathBuf,
        options: LoadOptions,
        metrics: Arc<Metrics>,
        retirements: TaskTracker,
        canaries: Canaries,
    ) -> Self {
        Self {
            entries: BTreeMap::new(),
            generations: 0,
            parallel_loads: 1,
            state,
            options,
            metrics,
            retirements,
            canaries,
        }
    }

    pub(super) fn entries(&self) -> &BTreeMap<PluginName, Entry> {
        &self.entries
    }

    /// The version of each plugin that workers are to run.
    pub(super) fn generations(&self) -> BTreeMap<PluginName, GenerationId> {
        self.entries.iter().filter_map(|(name, entry)| Some((name.clone(), entry.current.as_ref()?.id()))).collect()
    }

    /// The latest number of a version.
    pub(super) fn latest(&self) -> GenerationId {
        GenerationId(self.generations)
    }

    /// Where copies are made.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    pub(super) fn options(&self) -> &LoadOptions {
        &self.options
    }

    /// How many files are copied, tried and loaded at a time.
    pub(super) fn parallel_loads(&self) -> usize {
        self.parallel_loads
    }

    /// See [`Shelf::parallel_loads`].
    pub(super) fn load_in_parallel(&mut self, files: usize) {
        self.parallel_loads = files.max(1);
    }

    pub(super) fn lease(&self, name: &PluginName) -> Option<Lease> {
        self.entries.get(name)?.current.clone()
    }

    /// The trial of the version that workers are to run, while there is one.
    pub(super) fn trial(&self, name: &PluginName) -> Option<Arc<Trial>> {
        self.entries.get(name)?.trial.as_ref().map(|on_trial| Arc::clone(on_trial.trial()))
    }

    /// Notified when a trial has been decided: [`Shelf::settle`] is due.
    pub(super) fn decided(&self) -> Arc<Notify> {
        self.canaries.decided()
    }

    /// Does what has been decided about versions on trial. The file of one that was given up is not tried again.
    pub(super) fn settle(&mut self) {
        for (name, entry) in &mut self.entries {
            let Some(decision) = entry.trial.as_ref().and_then(OnTrial::decision) else { continue };
            let Some(on_trial) = entry.trial.take() else { continue };
            let outcome = match decision {
                Decision::Accepted(numbers) => {
                    tracing::info!(target: TARGET, plugin = %name, generation = %on_trial.trial().generation(), "accepted: {numbers}");
                    "accepted"
                }
                Decision::GivenUp(why) => {
                    entry.go_back(on_trial.into_before());
                    entry.refuse(name, format!("the new version was given up on trial: {why}"));
                    "given_up"
                }
            };
            self.metrics.canaries.with_label_values(&[name.as_str(), outcome]).inc();
        }
    }

    /// Takes note of what lies in the folder now, loads what is new and needed, and lets go of what nobody needs.
    pub(super) async fn refresh(&mut self, found: Found, needed: &Needed) {
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
                    entry.tried = None;
                    continue;
                }
            };
            let purpose = Purpose::of(&name, needed);
            entry.file = Some(file.clone());
            if entry.has_tried(&file, purpose) {
                continue;
            }
            entry.tried = Some((file.fingerprint, purpose));
            self.generations += 1;
            jobs.push((name, file, purpose, GenerationId(self.generations)));
        }
        self.load_all(jobs).await;
    }

    fn note_missing(&mut self, found: &Found, needed: &Needed) {
        for (name, entry) in &mut self.entries {
            if !needed.contains_key(name) && entry.current.take().is_some() {
                tracing::info!(target: TARGET, plugin = %name, "no worker of the topology needs it any more");
                entry.tried = None;
                entry.trial = None;
            }
            if !found.contains_key(name) && entry.file.take().is_some() {
                entry.tried = None;
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

    async fn load_all(&mut self, jobs: Vec<(PluginName, PluginFile, Purpose, GenerationId)>) {
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
                Ok((info, loaded)) => entry.accept(&name, info, loaded, &self.retirements, &self.canaries),
                Err(error) => {
                    self.metrics.malformed.with_label_values(&["plugin", error.kind()]).inc();
                    entry.refuse(&name, error.to_string());
                }
            }
        }
    }
}

impl Entry {
    fn accept(
        &mut self,
        name: &PluginName,
        info: PluginInfo,
        loaded: Option<Loaded>,
        retirements: &TaskTracker,
        canaries: &Canaries,
    ) {
        match loaded {
            Some(loaded) => {
                let what =
                    if loaded.generation.is_some() { "loaded" } else { "found; only processes of its workers load it" };
                tracing::info!(target: TARGET, plugin = %name, version = info.version, generation = %loaded.id, "{what}");
                let new = Lease::new(loaded, retirements);
                self.trial = canaries.begin(&new, self.current.as_ref(), self.trial.take());
                let old = self.current.replace(new);
                self.replaced.retain(|older| older.id().is_some());
                self.replaced.extend(old.as_ref().map(Lease::downgrade));
            }
            None => {
                tracing::info!(target: TARGET, plugin = %name, version = info.version, "found; no worker of the topology uses it")
            }
        }
        self.info = Some(info);
        self.error = None;
    }

    /// Whether its file is what was probed or loaded last.
    pub(super) fn has_tried(&self, file: &PluginFile, purpose: Purpose) -> bool {
        self.tried == Some((file.fingerprint, purpose))
    }

    /// Has workers run an earlier version again.
    fn go_back(&mut self, before: Lease) {
        self.info = Some(before.info().clone());
        let given_up = self.current.replace(before);
        self.replaced.extend(given_up.as_ref().map(Lease::downgrade));
    }

    /// The version on trial.
    pub(super) fn on_trial(&self) -> Option<GenerationId> {
        self.trial.as_ref().map(|on_trial| on_trial.trial().generation())
    }

    /// Older versions that still finish their jobs.
    pub(super) fn retiring(&self) -> Vec<GenerationId> {
        let current = self.current.as_ref().map(|current| current.id());
        self.replaced.iter().filter_map(WeakLease::id).filter(|id| Some(*id) != current).collect()
    }

    /// Says why its file is not what runs, once. Whether that is new.
    fn refuse(&mut self, name: &PluginName, error: String) -> bool {
        let is_new = self.error.as_ref().is_none_or(|known| known.message != error);
        if is_new {
            let rest = if self.current.is_some() { "; the version that runs goes on" } else { "" };
            tracing::error!(target: TARGET, plugin = %name, "{error}{rest}");
        }
        self.error = Some(Complaint::now(error));
        is_new
    }
}

async fn load(
    name: &PluginName,
    file: PluginFile,
    purpose: Purpose,
    id: GenerationId,
    state: &Path,
    options: &LoadOptions,
) -> Result<(PluginInfo, Option<Loaded>), LoadError> {
    let (info, shadow) = look(&file, state, options).await?;
    let Purpose::Run(Use { threads, processes }) = purpose else { return Ok((info, None)) };
    let (plugin, copy) = (name.clone(), Arc::new(shadow));
    let generation = match threads {
        true => Some(Generation::load(id, plugin.clone(), Arc::clone(&copy), options.clone()).await?),
        false => None,
    };
    let loaded = Loaded { id, plugin, info: info.clone(), generation, copy: processes.then_some(copy) };
    Ok((info, Some(loaded)))
}

/// Copies a file and tries the copy in a child process.
pub(super) async fn look(
    file: &PluginFile,
    state: &Path,
    options: &LoadOptions,
) -> Result<(PluginInfo, ShadowCopy), LoadError> {
    let (path, state) = (file.path.clone(), state.to_owned());
    // A copy that panics is a bug; a lost task is a host that ends.
    let shadow = match tokio::task::spawn_blocking(move || ShadowCopy::make(&path, &state)).await {
        Ok(shadow) => shadow?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let info = probe(&shadow, options.limit).await?;
    Ok((info, shadow))
}
