//! Whether the host does what its topology says, and why not.

use std::collections::BTreeMap;

use super::{BusHealth, HostPhase, HostStatus, InstanceState, PluginState};

impl HostStatus {
    /// What keeps the host from being ready; nothing, when it is. A failed reload whose older version goes on serving
    /// does not: it shows in [`super::PluginStatus::last_error`].
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.phase {
            HostPhase::Starting => reasons.push("the host is starting".to_owned()),
            HostPhase::Draining => reasons.push("the host is shutting down".to_owned()),
            HostPhase::Running => {}
        }
        if self.bus.state != BusHealth::Connected {
            let error = self.bus.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
            reasons.push(format!("the bus is {}{error}", self.bus.state));
        }
        reasons.extend(self.idle_slots());
        reasons
    }

    /// What would keep the host from being ready once it is started again.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let gone = self.plugins.iter().filter(|plugin| plugin.state == PluginState::FileGone);
        gone.map(|plugin| {
            let name = &plugin.name;
            format!("the file of plugin {name} is gone: its workers go on, but a restart of the host would miss it")
        })
        .collect()
    }

    /// One reason for each slot without a running instance. While it is being swapped a slot has two, and one will do.
    fn idle_slots(&self) -> Vec<String> {
        let mut slots: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for worker in &self.workers {
            let reason = (worker.state != InstanceState::Running).then(|| {
                let error = worker.last_error.as_ref().map(|error| format!(": {}", error.message));
                format!("worker {} is {}{}", worker.slot, worker.state, error.unwrap_or_default())
            });
            slots
                .entry(&worker.slot)
                .and_modify(|so_far| *so_far = so_far.take().and(reason.clone()))
                .or_insert(reason);
        }
        slots.into_values().flatten().collect()
    }
}
