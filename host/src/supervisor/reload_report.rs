//! Describes the changes of a reload: for `POST /api/reload` and `mshost plan`.

use mshost_topology::{BusConfig, BusUrl, Change, Plan, Slot};

use super::plugin_store::plugin_preview::PluginSummaries;
use crate::admin::{BusChange, SettingChange, TakesEffect, WorkerAction, WorkerChange};

/// The changes of workers. `running` and `wanted` are what `changes` lead from and to; `is_down` tells whether a slot has
/// no worker that runs.
pub(super) fn worker_changes(
    changes: &[Change],
    running: &Plan,
    wanted: &Plan,
    summaries: &PluginSummaries,
    is_down: impl Fn(&Slot) -> bool,
) -> Vec<WorkerChange> {
    let mut found: Vec<_> = changes.iter().collect();
    found.sort_by_key(|change| change.slot());
    let of = |change: &Change| {
        let slot = change.slot();
        let action = match change {
            Change::Start { .. } => WorkerAction::Start,
            Change::Swap { .. } if is_down(slot) => WorkerAction::Restart,
            Change::Swap { .. } => WorkerAction::Swap,
            Change::Stop { .. } => WorkerAction::Stop,
            Change::Wait { .. } => WorkerAction::Wait,
        };
        let mut reasons = mshost_topology::reasons(change, running, wanted);
        if action == WorkerAction::Wait {
            reasons.extend(summaries.get(&slot.plugin).and_then(|summary| summary.error.clone()));
        }
        WorkerChange {
            slot: slot.to_string(),
            worker_type: slot.worker_type.to_string(),
            plugin: slot.plugin.to_string(),
            action,
            reasons,
        }
    };
    found.into_iter().map(of).collect()
}

/// The change of the bus, where there is one.
pub(super) fn bus_change(old: &BusConfig, new: &BusConfig) -> Option<BusChange> {
    let waiting = match (&old.url, &old.journal) {
        (BusUrl::Amqp(_), _) => "what cannot be done there soon stays: the broker keeps it for other hosts".to_owned(),
        (BusUrl::Embedded, None) => "what waits there is done, or carried over".to_owned(),
        (BusUrl::Embedded, Some(journal)) => {
            let folder = journal.folder.display();
            format!(
                "what waits there is done, or carried over; were the host stopped before that, {folder} would keep it"
            )
        }
    };
    let (from, to) = (old.url.to_string(), new.url.to_string());
    (old != new).then_some(BusChange { from, to, waiting })
}

/// The settings that differ.
pub(super) fn setting_changes(settings: Vec<mshost_topology::ChangedSetting>) -> Vec<SettingChange> {
    let change = |setting: mshost_topology::ChangedSetting| SettingChange {
        setting: setting.name.to_owned(),
        takes_effect: if setting.needs_restart { TakesEffect::Restart } else { TakesEffect::Now },
    };
    settings.into_iter().map(change).collect()
}
