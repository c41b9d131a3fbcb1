//! Reads `[host]`.

use std::fs;

use crate::config::{CanaryConfig, HostConfig};
use crate::keys::{canary, host};
use crate::table_reader::TableReader;

pub(crate) fn read(mut table: TableReader<'_, '_>) -> HostConfig {
    let folder = table.context().folder;
    let config = HostConfig {
        name: table.find(&host::NAME).unwrap_or_else(machine_name),
        plugins: table.find(&host::PLUGINS).unwrap_or_else(|| folder.join(host::PLUGINS.default)),
        admin: table.read(&host::ADMIN),
        state: table.find(&host::STATE).unwrap_or_else(|| folder.join(host::STATE.default)),
        debounce: table.read(&host::DEBOUNCE),
        plugin_threads: table.read(&host::PLUGIN_THREADS),
        parallel_loads: table.read(&host::PARALLEL_LOADS),
        shutdown_timeout: table.read(&host::SHUTDOWN_TIMEOUT),
        mapped_limit: table.read(&host::MAPPED_LIMIT),
        watch: table.read(&host::WATCH),
        snapshot_limit: table.read(&host::SNAPSHOT_LIMIT),
        canary: table.table(&host::CANARY).map(read_canary),
    };
    table.finish();
    config
}

fn machine_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "mshost".to_owned() } else { name.to_owned() }
}

fn read_canary(mut table: TableReader<'_, '_>) -> CanaryConfig {
    let config = CanaryConfig {
        share: table.read(&canary::SHARE),
        span: table.read(&canary::FOR),
        min_jobs: table.read(&canary::MIN_JOBS),
        tolerance: table.read(&canary::TOLERANCE),
    };
    table.finish();
    config
}
