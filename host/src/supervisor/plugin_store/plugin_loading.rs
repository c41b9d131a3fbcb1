//! Loads a plugin file: copy, probe in a child process, load.

use std::path::Path;
use std::sync::Arc;

use mshost_core::ids::{GenerationId, PluginName};
use mshost_plugin_host::watch::PluginFile;
use mshost_plugin_host::{Generation, LoadError, LoadOptions, PluginInfo, ShadowCopy, probe};

use super::lease::LoadedPlugin;
use super::plugin_entry::{LoadPurpose, PluginUsers};

/// Copies and probes a file, and loads the copy where the purpose is to run it.
pub(super) async fn load(
    name: &PluginName,
    file: PluginFile,
    purpose: LoadPurpose,
    id: GenerationId,
    state: &Path,
    options: &LoadOptions,
) -> Result<(PluginInfo, Option<LoadedPlugin>), LoadError> {
    let (info, shadow) = copy_and_probe(&file, state, options).await?;
    let LoadPurpose::Run(PluginUsers { threads, processes }) = purpose else { return Ok((info, None)) };
    let (plugin, copy) = (name.clone(), Arc::new(shadow));
    let generation = match threads {
        true => Some(Generation::load(id, plugin.clone(), Arc::clone(&copy), options.clone()).await?),
        false => None,
    };
    let loaded = LoadedPlugin { id, plugin, info: info.clone(), generation, copy: processes.then_some(copy) };
    Ok((info, Some(loaded)))
}

/// Copies a file and probes the copy in a child process.
pub(super) async fn copy_and_probe(
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
