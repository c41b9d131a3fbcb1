//! The keys of `[bus]` that are about the embedded bus's journal.

use std::path::Path;

use mshost_bus::{JournalConfig, JournalSync};

use super::values::{one_of, path_in, size};
use super::walk::Fields;

/// The keys.
pub(super) const KEYS: [&str; 3] = ["journal", "journal_sync", "journal_limit"];

const SYNCS: &[(&str, JournalSync)] =
    &[("always", JournalSync::Always), ("checkpoint", JournalSync::Checkpoint), ("never", JournalSync::Never)];

const MIN_LIMIT: u64 = 1 << 20;
const DEFAULT_LIMIT: u64 = 16 << 30;
const MAX_LIMIT: u64 = 1 << 43;

/// Reads them; `None` without `journal`, whatever the others say.
pub(super) fn read(bus: &mut Fields<'_, '_>, folder: &Path) -> Option<JournalConfig> {
    let place = bus.take(KEYS[0], path_in(folder));
    let sync = bus.take(KEYS[1], one_of(SYNCS)).unwrap_or_default();
    let limit = bus.take(KEYS[2], size(MIN_LIMIT..=MAX_LIMIT)).map_or(DEFAULT_LIMIT, |bytes| bytes as u64);
    Some(JournalConfig { folder: place?, sync, limit })
}
