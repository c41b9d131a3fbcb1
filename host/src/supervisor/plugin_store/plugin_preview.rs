//! Previews what a reload would do to plugins, without loading any into this process.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use mshost_core::ids::{GenerationId, PluginName};
use mshost_plugin_host::PluginInfo;
use mshost_plugin_host::watch::{FileProblem, PluginFile};

use super::plugin_entry::{FoundPlugins, LoadPurpose, NeededPlugins, PluginEntry};
use super::plugin_loading::copy_and_probe;
use super::store::PluginStore;
use crate::admin::{PluginAction, PluginChange};

/// A summary of all plugins, by name: as they are, or as they would be.
pub(crate) type PluginSummaries = BTreeMap<PluginName, PluginSummary>;

/// What a reload reports of one plugin.
#[derive(Debug, Clone, Default)]
pub(crate) struct PluginSummary {
    /// The version that workers are to run.
    pub(crate) generation: Option<GenerationId>,
    /// What its latest usable file says of itself.
    pub(crate) info: Option<PluginInfo>,
    /// Whether it has a file.
    has_file: bool,
    /// Why its file, as it is now, is not what runs.
    pub(crate) error: Option<String>,
}

impl From<&PluginEntry> for PluginSummary {
    fn from(entry: &PluginEntry) -> Self {
        Self {
            generation: entry.current.as_ref().map(|current| current.id()),
            info: entry.info.clone(),
            has_file: entry.file.is_some(),
            error: entry.error.as_ref().map(|complaint| complaint.message.clone()),
        }
    }
}

/// The versions that workers are to run.
pub(crate) fn generations(summaries: &PluginSummaries) -> BTreeMap<PluginName, GenerationId> {
    summaries.iter().filter_map(|(name, summary)| Some((name.clone(), summary.generation?))).collect()
}

impl PluginStore {
    /// All plugins as they are.
    pub(crate) fn summaries(&self) -> PluginSummaries {
        self.entries().iter().map(|(name, entry)| (name.clone(), entry.into())).collect()
    }

    /// All plugins as they would be after [`PluginStore::refresh`]. Files that would be loaded are probed in a child process, no
    /// more.
    pub(crate) async fn preview(&self, found: &FoundPlugins, needed: &NeededPlugins) -> PluginSummaries {
        let mut summaries = self.summaries();
        for (name, summary) in &mut summaries {
            if !needed.contains_key(name) {
                summary.generation = None;
            }
            if !found.contains_key(name) {
                summary.has_file = false;
                summary.error = None;
            }
        }
        let mut untried = Vec::new();
        for (name, file) in found {
            let summary = summaries.entry(name.clone()).or_default();
            match file {
                Ok(file) => {
                    summary.has_file = true;
                    let purpose = LoadPurpose::of(name, needed);
                    if !self.entries().get(name).is_some_and(|entry| entry.has_tried(file, purpose)) {
                        untried.push((name.clone(), file.clone(), purpose));
                    }
                }
                Err(FileProblem::Changing { .. }) => {}
                Err(problem) => summary.error = Some(problem.to_string()),
            }
        }
        for (name, purpose, probed) in self.probe_all(untried).await {
            let summary = summaries.entry(name).or_default();
            match probed {
                Ok((info, id)) => {
                    summary.info = Some(info);
                    summary.error = None;
                    if matches!(purpose, LoadPurpose::Run(_)) {
                        summary.generation = Some(id);
                    }
                }
                Err(error) => summary.error = Some(error),
            }
        }
        summaries
    }

    async fn probe_all(
        &self,
        untried: Vec<(PluginName, PluginFile, LoadPurpose)>,
    ) -> Vec<(PluginName, LoadPurpose, Result<(PluginInfo, GenerationId), String>)> {
        let ids = (self.latest().0 + 1..).map(GenerationId);
        futures::stream::iter(untried.into_iter().zip(ids))
            .map(|((name, file, purpose), id)| async move {
                let probed = copy_and_probe(&file, self.state(), self.options()).await;
                (name, purpose, probed.map(|(info, _)| (info, id)).map_err(|error| error.to_string()))
            })
            .buffer_unordered(self.parallel_loads())
            .collect()
            .await
    }
}

/// What happens to plugins on the way from one set of summaries to another, and what is not as the topology needs it.
pub(crate) fn plugin_changes(
    before: &PluginSummaries,
    after: &PluginSummaries,
    needed: &NeededPlugins,
) -> Vec<PluginChange> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).chain(needed.keys()).collect();
    let nothing = PluginSummary::default();
    names
        .into_iter()
        .filter_map(|name| {
            let of = |summaries: &PluginSummaries| summaries.get(name).unwrap_or(&nothing).clone();
            let (action, reason) = change(&of(before), &of(after), needed.contains_key(name))?;
            Some(PluginChange { name: name.to_string(), action, reason })
        })
        .collect()
}

fn change(before: &PluginSummary, after: &PluginSummary, needed: bool) -> Option<(PluginAction, String)> {
    if let Some(error) = &after.error {
        return Some((PluginAction::Refused, error.clone()));
    }
    let version = |summary: &PluginSummary| summary.info.as_ref().map(|info| info.version.clone()).unwrap_or_default();
    let (old, new) = (version(before), version(after));
    Some(match (before.generation, after.generation) {
        (None, Some(_)) => (PluginAction::Load, format!("version {new}")),
        (Some(from), Some(to)) if from != to && old == new => (PluginAction::Swap, "its file differs".to_owned()),
        (Some(from), Some(to)) if from != to => (PluginAction::Swap, format!("version {old} → {new}")),
        (Some(_), Some(_)) if !after.has_file => {
            let reason = "its file is gone: its workers go on, but a restart of the host would miss it";
            (PluginAction::FileGone, reason.to_owned())
        }
        (Some(_), None) => (PluginAction::Unload, "no worker of the topology needs it".to_owned()),
        (None, None) if needed => (PluginAction::Missing, "it is not in the folder of plugins".to_owned()),
        _ => return None,
    })
}
