//! The keys of `[manager]`.

use std::time::Duration;

use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::{BooleanKind, DurationKind, DurationOrOffKind, IntegerKind};

pub(crate) static SECTION: ConfigSection = ConfigSection {
    heading: "[manager]",
    role: SectionRole::TopLevel,
    doc: "The SystemManager of the host: it keeps the registry of all workers on the bus. One manager is active on a bus, \
          those of the other hosts stand by.",
    example: "[manager]\nkeepalive = \"10s\"\nexpire_after = \"30s\"\n",
    keys: &[KEYS],
};

keys! {
    /// The keys of the table.
    KEYS of "[manager]";

    /// Whether this host has a manager.
    ENABLED = "enabled": BooleanKind = BooleanKind, HasDefault(true), AtRestart;

    /// How often the manager asks all workers whether they are there.
    KEEPALIVE = "keepalive": DurationOrOffKind = DurationOrOffKind, HasDefault(Some(Duration::from_secs(10))), AtOnce;

    /// The most workers that the registry holds; at least as many as the topology has instances.
    MAX_WORKERS = "max_workers": IntegerKind<usize> = IntegerKind(1..=1_000_000), HasDefault(10_000), AtOnce;

    /// The most workers of MicroServices.js that mshost's can send to. Each takes a channel of the connection, of which RabbitMQ allows
    /// some 2,000.
    MAX_PROXIES = "max_proxies": IntegerKind<usize> = IntegerKind(1..=60_000), HasDefault(1_000), AtOnce;

    /// After how long without an answer a worker is taken for gone; longer than `keepalive`.
    EXPIRE_AFTER = "expire_after": DurationKind = DurationKind::Positive, Optional("three times `keepalive`"), AtOnce;
}
