//! `mshost check FILE`: everything that is wrong with a topology and its plugins, without running anything.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use mshost_core::ids::PluginName;
use mshost_plugin_host::watch::PluginFolder;
use mshost_topology::{Diagnostics, Topology, check_worker};

use super::inspect::manifest;
use super::print::{CommandError, err, out, show};
use super::run::load;

pub(super) fn check(path: &Path) -> Result<ExitCode, CommandError> {
    let topology = load(path)?;
    let mut failed = false;
    let mut manifests = BTreeMap::new();
    for (name, file) in PluginFolder::new(&topology.host.plugins).scan().map_err(CommandError::new)? {
        match file.map_err(CommandError::new).and_then(|file| manifest(&file.path)) {
            Ok(manifest) => drop(manifests.insert(name, manifest)),
            Err(failure) => {
                failed = true;
                err(&format!("error: plugin `{name}`: {failure}"));
            }
        }
    }
    let mut found = Vec::new();
    for (index, worker) in topology.workers.iter().enumerate() {
        match manifests.get(&worker.plugin) {
            Some(manifest) => found.extend(check_worker(&topology, index, manifest)),
            None => note_pending(&topology, &worker.plugin),
        }
    }
    if let Some(found) = Diagnostics::new(&topology.source, found) {
        failed |= found.has_errors();
        err(&show(&found));
    }
    if failed {
        return Ok(ExitCode::FAILURE);
    }
    let workers: u32 = topology.workers.iter().map(|worker| worker.instances).sum();
    out(&format!("{}: {workers} workers of {} plugins, nothing wrong", path.display(), manifests.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// Not an error: a plugin may be dropped in later.
fn note_pending(topology: &Topology, plugin: &PluginName) {
    let folder = topology.host.plugins.display();
    err(&format!("note: plugin `{plugin}` is not in {folder}: its workers would wait for it"));
}
