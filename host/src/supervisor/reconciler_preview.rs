//! What the reconciler would do, for the admin server and `mshost plan`.

use mshost_topology::{Slot, Topology};

use super::reconciler::Reconciler;
use super::reload_preview::{self, RunningTopology};
use crate::admin::ReloadReport;

impl Reconciler {
    /// What [`Reconciler::reconcile`] would do now, or with this text in place of the topology file.
    pub(super) async fn preview(&self, text: Option<String>) -> ReloadReport {
        let Some(text) = text else {
            return match reload_preview::load_topology(&self.path) {
                Ok(newer) => self.compare(&newer).await,
                // Plugins are taken up all the same.
                Err(errors) => ReloadReport { errors, ..self.compare(&self.topology).await },
            };
        };
        let (read, used) = reload_preview::parse_topology(&self.path, &text);
        used.hide(match read {
            Ok(newer) => self.compare(&newer).await,
            Err(errors) => self.failed(errors),
        })
    }

    async fn compare(&self, newer: &Topology) -> ReloadReport {
        let found = match self.scan().await {
            Ok(found) => found,
            Err(error) => return self.failed(vec![error]),
        };
        let (host, is_down) = (self.running_host(), |slot: &Slot| self.is_down(slot));
        let running = RunningTopology { host, topology: &self.topology, plan: &self.plan, is_down: &is_down };
        reload_preview::preview(Some(running), newer, &self.plugins, &found).await
    }

    fn failed(&self, errors: Vec<String>) -> ReloadReport {
        ReloadReport { host: Some(self.running_host()), errors, ..ReloadReport::default() }
    }
}
