//! `mshost inspect FILE.so`: what a plugin file says of itself, tried in a child process.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use mshost_plugin_api::{Manifest, WorkerKind};
use mshost_plugin_host::{ShadowCopy, probe};

use super::print::{CommandError, out};

/// How long a plugin may take to load.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn inspect(file: &Path) -> Result<ExitCode, CommandError> {
    out(&describe(&manifest(file)?))?;
    Ok(ExitCode::SUCCESS)
}

/// Tries a plugin file without loading it into this process.
pub(super) fn manifest(file: &Path) -> Result<Manifest, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::new)?;
    let copies = tempfile::tempdir().map_err(CommandError::new)?;
    runtime.block_on(async {
        let shadow = ShadowCopy::make(file, copies.path()).map_err(CommandError::new)?;
        probe(&shadow, LIMIT).await.map_err(CommandError::new)
    })
}

fn describe(manifest: &Manifest) -> String {
    let Manifest { name, version, api_version, rustc, .. } = manifest;
    let mut text = format!("plugin      {name} {version}\nplugin-api  {api_version}\nbuilt with  {rustc}\n");
    for worker in &manifest.workers {
        let kind = match worker.kind {
            WorkerKind::Async => "async",
            WorkerKind::Blocking => "blocking",
        };
        text.push_str(&format!("\nworker {} ({kind})\n", worker.worker_type));
        let keys = worker.schema["properties"].as_object();
        let required = worker.schema["required"].as_array();
        if keys.is_none_or(serde_json::Map::is_empty) {
            text.push_str("  takes no configuration\n");
        }
        for (key, schema) in keys.into_iter().flatten() {
            let needed = required.is_some_and(|required| required.iter().any(|name| name == key));
            let what = schema["description"].as_str().unwrap_or_default();
            text.push_str(&format!("  {key}{}  {what}\n", if needed { " (required)" } else { "" }));
        }
    }
    text.trim_end().to_owned()
}
