//! How each plugin stands, and how it would stand if its file were taken up now: what a reload says of plugins.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use mshost_core::ids::{GenerationId, PluginName};
use mshost_plugin_host::PluginInfo;
use mshost_plugin_host::watch::{FileProblem, PluginFile};

use super::shelf::{Entry, Found, Needed, Purpose, Shelf, look};
use crate::admin::{PluginAction, PluginChange};

/// All plugins, by name.
pub(super) type Outlook = BTreeMap<PluginName, Standing>;

/// How one plugin stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// The version that workers are to run.
    pub(super) generation: Option<GenerationId>,
    /// What its latest usable file says of itself.
    pub(super) info: Option<PluginInfo>,
    /// Whether it has a file.
    has_file: bool,
    /// Why its file, as it is now, is not what runs.
    pub(super) error: Option<String>,
}

impl From<&Entry> for Standing {
    fn from(entry: &Entry) -> Self {
        Self {
            generation: entry.current.as_ref().map(|current| current.id()),
            info: entry.info.clone(),
            has_file: entry.file.is_some(),
            error: entry.error.as_ref().map(|complaint| complaint.message.clone()),
        }
    }
}

/// The versions of an outlook that workers are to run.
pub(super) fn generations(outlook: &Outlook) -> BTreeMap<PluginName, GenerationId> {
    outlook.iter().filter_map(|(name, standing)| Some((name.clone(), standing.generation?))).collect()
}

impl Shelf {
    /// How all plugins stand.
    pub(super) fn standings(&self) -> Outlook {
        self.entries().iter().map(|(name, entry)| (name.clone(), entry.into())).collect()
    }

    /// How they would stand after [`Shelf::refresh`]. Files that would be loaded are tried in a child process, no more.
    pub(super) async fn outlook(&self, found: &Found, needed: &Needed) -> Outlook {
        let mut outlook = self.standings();
        for (name, standing) in &mut outlook {
            if !needed.contains_key(name) {
                standing.generation = None;
            }
            if !found.contains_key(name) {
                standing.has_file = false;
                standing.error = None;
            }
        }
        let mut tries = Vec::new();
        for (name, file) in found {
            let standing = outlook.entry(name.clone()).or_default();
            match file {
                Ok(file) => {
                    standing.has_file = true;
                    let purpose = Purpose::of(name, needed);
                    if !self.entries().get(name).is_some_and(|entry| entry.has_tried(file, purpose)) {
                        tries.push((name.clone(), file.clone(), purpose));
                    }
                }
                Err(FileProblem::Changing { .. }) => {}
                Err(problem) => standing.error = Some(problem.to_string()),
            }
        }
        for (name, purpose, tried) in self.try_all(tries).await {
            let standing = outlook.entry(name).or_default();
            match tried {
                Ok((info, id)) => {
                    standing.info = Some(info);
                    standing.error = None;
                    if matches!(purpose, Purpose::Run(_)) {
                        standing.generation = Some(id);
                    }
                }
                Err(error) => standing.error = Some(error),
            }
        }
        outlook
    }

    async fn try_all(
        &self,
        tries: Vec<(PluginName, PluginFile, Purpose)>,
    ) -> Vec<(PluginName, Purpose, Result<(PluginInfo, GenerationId), String>)> {
        let ids = (self.latest().0 + 1..).map(GenerationId);
        futures::stream::iter(tries.into_iter().zip(ids))
            .map(|((name, file, purpose), id)| async move {
                let tried = look(&file, self.state(), self.options()).await;
                (name, purpose, tried.map(|(info, _)| (info, id)).map_err(|error| error.to_string()))
            })
            .buffer_unordered(self.parallel_loads())
            .collect()
            .await
    }
}

/// What happens to plugins on the way from one outlook to another, and what is not as the topology needs it.
pub(super) fn plugin_changes(before: &Outlook, after: &Outlook, needed: &Needed) -> Vec<PluginChange> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).chain(needed.keys()).collect();
    let nothing = Standing::default();
    names
        .into_iter()
        .filter_map(|name| {
            let of = |outlook: &Outlook| outlook.get(name).unwrap_or(&nothing).clone();
            let (action, reason) = change(&of(before), &of(after), needed.contains_key(name))?;
            Some(PluginChange { name: name.to_string(), action, reason })
        })
        .collect()
}

fn change(before: &Standing, after: &Standing, needed: bool) -> Option<(PluginAction, String)> {
    if let Some(error) = &after.error {
        return Some((PluginAction::Refused, error.clone()));
    }
    let version = |standing: &Standing| standing.info.as_ref().map(|info| info.version.clone()).unwrap_or_default();
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
