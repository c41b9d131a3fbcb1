//! The keys of `[host]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::canary;
use crate::config::Watch;
use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::{
    AdminAddressKind, DurationKind, HostNameKind, IntegerKind, PathKind, SizeKind, TableKind, WordKind,
};

/// The largest state of a worker: it is held in memory three times over for a moment.
const MAX_SNAPSHOT: u64 = 1 << 32;

pub(crate) static SECTION: ConfigSection = ConfigSection {
    heading: "[host]",
    role: SectionRole::TopLevel,
    doc: "The host process: its folders, its admin server, and what it allows plugins.",
    example: "[host]\nname = \"edge-1\"\nadmin = \"127.0.0.1:9091\"\nshutdown_timeout = \"30s\"\ncanary = { share = 0.1, for = \"30s\" }\n",
    keys: &[KEYS],
};

keys! {
    /// The keys of the table.
    KEYS of "[host]";

    /// What the host calls itself.
    NAME = "name": HostNameKind = HostNameKind, Optional("the name of the machine"), AtRestart;

    /// The folder of the plugin files.
    PLUGINS = "plugins": PathKind = PathKind, HasDefault("plugins"), AtOnce;

    /// Where the admin server listens: metrics, probes, the API and the page that shows what runs.
    ADMIN = "admin": AdminAddressKind = AdminAddressKind,
        HasDefault(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9091))), AtRestart;

    /// The folder for what must outlive the host.
    STATE = "state": PathKind = PathKind, HasDefault("state"), AtRestart;

    /// How long a changed file must have been quiet before it is read.
    DEBOUNCE = "debounce": DurationKind = DurationKind::FromZero, HasDefault(Duration::from_millis(200)), AtOnce;

    /// The threads that each loaded version of a plugin runs on.
    PLUGIN_THREADS = "plugin_threads": IntegerKind<usize> = IntegerKind(1..=64), HasDefault(1), AtRestart;

    /// How many plugin files are copied, probed and loaded at a time.
    PARALLEL_LOADS = "parallel_loads": IntegerKind<usize> = IntegerKind(1..=64), HasDefault(4), AtOnce;

    /// How long a shutdown may take before it is forced.
    SHUTDOWN_TIMEOUT = "shutdown_timeout": DurationKind = DurationKind::Positive, HasDefault(Duration::from_secs(30)), AtOnce;

    /// How many plugin libraries that cannot be unloaded may stay in memory; beyond, no further version is loaded.
    MAPPED_LIMIT = "mapped_limit": IntegerKind<usize> = IntegerKind(1..=10_000), HasDefault(64), AtRestart;

    /// How changes of files are noticed: `native` has the operating system notify, `poll` looks again and again, for network and
    /// container mounts that do not notify.
    WATCH = "watch": WordKind<Watch> = WordKind(&[("native", Watch::Native), ("poll", Watch::Poll)]), HasDefault(Watch::Native), AtOnce;

    /// The most bytes of state that a worker hands to the version that replaces it.
    SNAPSHOT_LIMIT = "snapshot_limit": SizeKind = SizeKind(1..=MAX_SNAPSHOT), HasDefault(16 << 20), AtRestart;

    /// Has a new version of a plugin do a share of the jobs first, and gives it up if more of its attempts fail than the old version's.
    CANARY = "canary": TableKind = TableKind(&canary::SECTION),
        Optional("a new version takes over as soon as it has started"), AtRestart;
}
