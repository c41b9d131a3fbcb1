//! Reads `[manager]`.

use std::time::Duration;

use super::msjs::MsjsConfig;
use crate::config::ManagerConfig;
use crate::declaration::ReadableKind as _;
use crate::keys::manager;
use crate::table_reader::TableReader;

/// Enough to ride out a long keepalive's lost answers, few enough to notice a dead worker.
const KEEPALIVES_TO_EXPIRE: u32 = 3;

/// What three keepalives are counted from where there are none.
const ASSUMED_KEEPALIVE: Duration = Duration::from_secs(10);

pub(crate) fn read(mut table: TableReader<'_, '_>, msjs: &MsjsConfig) -> ManagerConfig {
    let keepalive = table.find(&manager::KEEPALIVE).or(msjs.keepalive).unwrap_or(manager::KEEPALIVE.default);
    let config = ManagerConfig {
        enabled: table.read(&manager::ENABLED),
        keepalive,
        expire_after: read_expire_after(&mut table, keepalive)
            .unwrap_or_else(|| keepalive.unwrap_or(ASSUMED_KEEPALIVE) * KEEPALIVES_TO_EXPIRE),
        max_workers: table.read(&manager::MAX_WORKERS),
        max_proxies: table.read(&manager::MAX_PROXIES),
    };
    table.finish();
    config
}

fn read_expire_after(table: &mut TableReader<'_, '_>, keepalive: Option<Duration>) -> Option<Duration> {
    let node = table.node(&manager::EXPIRE_AFTER)?;
    let after = manager::EXPIRE_AFTER.kind.read(&node)?;
    match keepalive {
        Some(keepalive) if after <= keepalive => node.refuse(
            "`expire_after` must be longer than `keepalive`",
            format!("not longer than the keepalive of {}", humantime::format_duration(keepalive)),
            Some("every worker would expire before it is asked; the default is three keepalives".to_owned()),
        ),
        _ => Some(after),
    }
}
