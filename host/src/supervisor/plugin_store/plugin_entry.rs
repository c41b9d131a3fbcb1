//! What is known of one plugin.

use std::collections::BTreeMap;

use mshost_core::ids::{GenerationId, PluginName};
use mshost_plugin_host::PluginInfo;
use mshost_plugin_host::watch::{FileProblem, Fingerprint, PluginFile};
use tokio_util::task::TaskTracker;

use super::lease::{Lease, LoadedPlugin, WeakLease};
use crate::admin::Complaint;
use crate::supervisor::canary::candidate::{CanaryCandidate, CanaryLauncher};

const TARGET: &str = "mshost::plugin";

/// One plugin: its file, the version that workers are to run, and why those differ.
#[derive(Debug, Default)]
pub(crate) struct PluginEntry {
    /// Its file, as it was when it was last looked at; `None` once it is gone.
    pub(crate) file: Option<PluginFile>,
    /// What was learnt from the file.
    pub(crate) info: Option<PluginInfo>,
    /// The version that workers are to run.
    pub(crate) current: Option<Lease>,
    /// Why the file, as it is now, is not what runs.
    pub(crate) error: Option<Complaint>,
    /// The canary evaluation of the version that workers are to run.
    pub(super) canary: Option<CanaryCandidate>,
    /// Older versions, some of which may still finish their jobs.
    pub(super) replaced: Vec<WeakLease>,
    /// What the file looked like when it was last probed or loaded, and for what.
    pub(super) last_tried: Option<(Fingerprint, LoadPurpose)>,
}

/// What a file is read for. One that no worker of the topology names is probed, so that its errors show, but not loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoadPurpose {
    Probe,
    Run(PluginUsers),
}

/// The kinds of workers that run a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PluginUsers {
    /// Workers on threads of the host.
    pub(crate) threads: bool,
    /// Workers in processes of their own: the host itself does not load it for them.
    pub(crate) processes: bool,
}

/// The plugins that workers of the topology name.
pub(crate) type NeededPlugins = BTreeMap<PluginName, PluginUsers>;

impl LoadPurpose {
    pub(crate) fn of(name: &PluginName, needed: &NeededPlugins) -> Self {
        needed.get(name).map_or(LoadPurpose::Probe, |by| Self::Run(*by))
    }
}

/// The files in the folder of plugins.
pub(crate) type FoundPlugins = BTreeMap<PluginName, Result<PluginFile, FileProblem>>;

impl PluginEntry {
    /// Notes a file that was probed, and where it was also loaded has workers run that version.
    pub(super) fn accept(
        &mut self,
        name: &PluginName,
        info: PluginInfo,
        loaded: Option<LoadedPlugin>,
        retirements: &TaskTracker,
        launcher: &CanaryLauncher,
    ) {
        match loaded {
            Some(loaded) => {
                let what =
                    if loaded.generation.is_some() { "loaded" } else { "found; only processes of its workers load it" };
                tracing::info!(target: TARGET, plugin = %name, version = info.version, generation = %loaded.id, "{what}");
                let new = Lease::new(loaded, retirements);
                self.canary = launcher.begin(&new, self.current.as_ref(), self.canary.take());
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
    pub(crate) fn has_tried(&self, file: &PluginFile, purpose: LoadPurpose) -> bool {
        self.last_tried == Some((file.fingerprint, purpose))
    }

    /// Has workers run an earlier version again.
    pub(super) fn go_back(&mut self, before: Lease) {
        self.info = Some(before.info().clone());
        let rejected = self.current.replace(before);
        self.replaced.extend(rejected.as_ref().map(Lease::downgrade));
    }

    /// The version under canary evaluation.
    pub(crate) fn canary_generation(&self) -> Option<GenerationId> {
        self.canary.as_ref().map(|candidate| candidate.evaluation().generation())
    }

    /// Older versions that still finish their jobs.
    pub(crate) fn retiring(&self) -> Vec<GenerationId> {
        let current = self.current.as_ref().map(|current| current.id());
        self.replaced.iter().filter_map(WeakLease::id).filter(|id| Some(*id) != current).collect()
    }

    /// Notes why its file is not what runs, and logs it once. Returns whether that is new.
    pub(super) fn refuse(&mut self, name: &PluginName, error: String) -> bool {
        let is_new = self.error.as_ref().is_none_or(|known| known.message != error);
        if is_new {
            let rest = if self.current.is_some() { "; the version that runs goes on" } else { "" };
            tracing::error!(target: TARGET, plugin = %name, "{error}{rest}");
        }
        self.error = Some(Complaint::now(error));
        is_new
    }
}
