//! The keys of a MicroServices.js configuration, which `config` names.

use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::{BooleanKind, BusUrlKind, CodecKind, KeepaliveMillisecondsKind};

pub(crate) static SECTION: ConfigSection = ConfigSection {
    heading: "the configuration",
    role: SectionRole::Foreign,
    doc: "The keys of the file that `config` names: a MicroServices.js `config.json`, or the same keys as TOML. What the topology says itself wins \
          over them; other keys are warned of. `${VAR}` is filled in where the file is TOML.",
    example: "",
    keys: &[KEYS],
};

keys! {
    /// The keys of the file.
    KEYS of "the configuration";

    /// As `url` in `[bus]`.
    BROKER_URL = "broker_url": BusUrlKind = BusUrlKind, Optional("`url` in `[bus]`"), ByBusMigration;

    /// As `keepalive` in `[manager]`, in milliseconds.
    KEEPALIVE = "keepalive": KeepaliveMillisecondsKind = KeepaliveMillisecondsKind, Optional("`keepalive` in `[manager]`"), AtOnce;

    /// `false` has the manager log warnings and errors alone.
    MANAGER_LOG = "SystemManager_log": BooleanKind = BooleanKind, Optional("`manager` in `[log]`"), AtOnce;

    /// `false` has the workers log warnings and errors alone.
    WORKER_LOG = "Worker_log": BooleanKind = BooleanKind, Optional("`worker` in `[log]`"), AtOnce;

    /// As `codec` in `[bus]`.
    DATA_TRANSFER_PROTOCOL = "data_transfer_protocol": CodecKind = CodecKind, Optional("`codec` in `[bus]`"), ByBusMigration;
}
