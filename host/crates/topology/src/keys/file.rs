//! The keys of `topology.toml` itself.

use super::{bus, host, log, manager, worker};
use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::{PathKind, TableKind, WorkersKind};

/// More `[[worker]]` entries than are written by hand.
const MAX_WORKERS: usize = 1_000;

pub(crate) static SECTION: ConfigSection = ConfigSection {
    heading: "the topology",
    role: SectionRole::TopLevel,
    doc: "What stands in the file before the first table. Every table may be left out.",
    example: "config = \"config/config.toml\"\n",
    keys: &[KEYS],
};

keys! {
    /// The keys of the file.
    KEYS of "the topology";

    /// A file with the keys of MicroServices.js: its `config.json`, or the same keys as TOML. What the topology says itself wins over it.
    CONFIG = "config": PathKind = PathKind, Optional("no such file is read"), PerKey;

    /// The host process.
    HOST = "host": TableKind = TableKind(&host::SECTION), Optional("every key has its default"), PerKey;

    /// The bus that the workers meet on.
    BUS = "bus": TableKind = TableKind(&bus::SECTION), Optional("every key has its default"), PerKey;

    /// The SystemManager of the host.
    MANAGER = "manager": TableKind = TableKind(&manager::SECTION), Optional("every key has its default"), PerKey;

    /// What the host logs.
    LOG = "log": TableKind = TableKind(&log::SECTION), Optional("every key has its default"), PerKey;

    /// What holds for every worker that says nothing else.
    DEFAULTS = "defaults": TableKind = TableKind(&worker::DEFAULTS), Optional("every key has its default"), PerKey;

    /// The workers, each a table of its own.
    WORKER = "worker": WorkersKind = WorkersKind { section: &worker::SECTION, most: MAX_WORKERS }, Optional("there are none, which is warned of"), PerKey;
}
