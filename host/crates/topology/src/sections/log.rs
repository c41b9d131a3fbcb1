//! Reads `[log]`.

use mshost_core::telemetry::{LogLevel, LogSettings};

use super::msjs::MsjsConfig;
use crate::keys::log;
use crate::table_reader::TableReader;

/// Reads the table. `SystemManager_log` and `Worker_log` of MicroServices.js silence what goes well, never warnings and
/// errors.
pub(crate) fn read(mut table: TableReader<'_, '_>, msjs: &MsjsConfig) -> LogSettings {
    let level = table.read(&log::LEVEL);
    let quiet = level.min(LogLevel::Warn);
    let silenced = |switch: Option<bool>| (switch == Some(false)).then_some(quiet);
    let settings = LogSettings {
        format: table.read(&log::FORMAT),
        level,
        manager: table.find(&log::MANAGER).or_else(|| silenced(msjs.manager_log)),
        worker: table.find(&log::WORKER).or_else(|| silenced(msjs.worker_log)),
    };
    table.finish();
    settings
}
