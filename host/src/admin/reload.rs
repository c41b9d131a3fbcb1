//! What a reload changes, as `POST /api/reload` and `mshost plan` show it. Its JSON is an interface that scripts rely on.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The largest topology that is compared, in bytes: as large as a file of one may be.
pub const MAX_TOPOLOGY: usize = 1 << 20;

/// Reloads the topology and the plugins, or previews that.
#[async_trait]
pub trait ReloadSource: Send + Sync + 'static {
    /// Reads everything anew and makes it so; ends once every worker that changes has been told.
    ///
    /// # Errors
    /// Where the host cannot do so now.
    async fn reload(&self) -> Result<ReloadReport, ReloadError>;

    /// What [`ReloadSource::reload`] would do now, or with this text in place of the topology file. Changes nothing.
    ///
    /// # Errors
    /// Where the host cannot tell now.
    async fn preview(&self, topology: Option<String>) -> Result<ReloadReport, ReloadError>;
}

/// Why nothing can be reloaded now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReloadError(pub String);

/// What changes, or what would.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReloadReport {
    /// What it was compared with; `null` where no host runs.
    pub host: Option<RunningHost>,
    /// Whether it has been done.
    pub applied: bool,
    /// The bus that all workers move from and to, where they do.
    pub bus: Option<BusChange>,
    /// Every worker that changes, in order of type, plugin and index.
    pub changes: Vec<WorkerChange>,
    /// Every plugin that changes, or that is not as the topology needs it.
    pub plugins: Vec<PluginChange>,
    /// Every setting besides those of workers that differs.
    pub settings: Vec<SettingChange>,
    /// What cannot be used, with file, line and column; what it concerns stays as it runs.
    pub errors: Vec<String>,
    /// What is allowed, but hardly meant.
    pub warnings: Vec<String>,
}

impl ReloadReport {
    /// Whether anything differs from what runs, be it applied by a reload or by a restart only.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let of_plugins = self.plugins.iter().any(|plugin| plugin.action.is_change());
        self.bus.is_some() || !self.changes.is_empty() || !self.settings.is_empty() || of_plugins
    }
}

/// The host that a plan was compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningHost {
    /// Its name on the bus.
    pub name: String,
    /// Its topology file.
    pub topology: PathBuf,
    /// How many times a changed topology has been applied there.
    pub revision: u64,
}

/// All workers move to another bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusChange {
    /// Its URL without the password.
    pub from: String,
    /// The other's.
    pub to: String,
    /// What becomes of what waits on the one that is left.
    pub waiting: String,
}

/// One worker that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerChange {
    /// Its place in the topology, as in `WB[0]`.
    pub slot: String,
    /// Its type.
    #[serde(rename = "type")]
    pub worker_type: String,
    /// The plugin that it comes from.
    pub plugin: String,
    /// What becomes of it.
    pub action: WorkerAction,
    /// Why. No value of a configuration is said: it may be a secret.
    pub reasons: Vec<String>,
}

/// What becomes of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerAction {
    /// There was none.
    Start,
    /// A new one starts, then the old one finishes its jobs and leaves.
    Swap,
    /// It does not run, having failed, and is tried again with what changes.
    Restart,
    /// It finishes its jobs and leaves.
    Stop,
    /// Its plugin cannot be had: it starts when it can.
    Wait,
}

/// One plugin that changes, or is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginChange {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub action: PluginAction,
    /// Why.
    pub reason: String,
}

/// What becomes of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginAction {
    /// It is loaded.
    Load,
    /// A newer version is loaded; its workers are swapped.
    Swap,
    /// No worker needs it any more.
    Unload,
    /// Its file cannot be used: an older version goes on where there is one.
    Refused,
    /// The topology names it, and its file is not there.
    Missing,
    /// Its workers go on, but a restart of the host would miss its file.
    FileGone,
}

impl PluginAction {
    /// Whether it is a change, and not only how things are.
    #[must_use]
    pub fn is_change(self) -> bool {
        matches!(self, Self::Load | Self::Swap | Self::Unload)
    }
}

/// A setting that differs from the one in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingChange {
    /// Its table and name, as in `[host] admin`.
    pub setting: String,
    /// When the new one counts.
    pub takes_effect: TakesEffect,
}

/// When a changed setting counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakesEffect {
    /// With the reload.
    Now,
    /// When the host is started again.
    Restart,
}
