//! The keys of `[[worker]]` and `[defaults]`.

use std::time::Duration;

use mshost_bus::Durability;

use super::{bus, isolation, restart, retry};
use crate::config::ParkedJobs;
use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::{
    DurationKind, DurationOrOffKind, IntegerKind, ListenKind, PluginConfigKind, PluginNameKind, TableKind, WordKind,
    WorkerTypeKind,
};

/// More instances of one worker are surely a mistake; each costs a task and a queue.
const MAX_INSTANCES: u32 = 1_000;
/// More threads that never come back are surely a mistake.
const MAX_ABANDONED: u32 = 1_000;

pub(crate) static DEFAULTS: ConfigSection = ConfigSection {
    heading: "[defaults]",
    role: SectionRole::TopLevel,
    doc: "What holds for every worker that says nothing else.",
    example: "[defaults]\ntimeout = \"10s\"\ndeadline = \"5m\"\nretry = { delay = \"2s\", max_attempts = 5 }\n",
    keys: &[SHARED],
};

pub(crate) static SECTION: ConfigSection = ConfigSection {
    heading: "[[worker]]",
    role: SectionRole::TopLevel,
    doc: "One worker: which jobs it takes, and the plugin that does them. No two have the same `type` and `plugin`; several plugins may serve one \
          type, and one plugin several types. A worker is its `type` and `plugin`: where another key changes, a worker with \
          the new value replaces the one that runs, without a lost job.",
    example: "[[worker]]\ntype = \"WB\"\nplugin = \"db\"\ninstances = 2\nconcurrency = 16\nlisten = { http = \"127.0.0.1:8080\" }\n\n\
              [worker.config]\npath = \"state/movies.db\"\n",
    keys: &[IDENTITY, SHARED, PLACE],
};

keys! {
    /// What a worker is.
    IDENTITY of "[[worker]]";

    /// The type of the jobs that it takes.
    TYPE = "type": WorkerTypeKind = WorkerTypeKind, Required("the type of the jobs that it takes, such as `type = \"WB\"`"), AtOnce;

    /// The plugin that does them. One that is not in the plugins' folder yet is waited for.
    PLUGIN = "plugin": PluginNameKind = PluginNameKind,
        Required("the plugin's name, such as `plugin = \"db\"` for `plugins/libdb.so`"), AtOnce;

    /// How many instances of it run; they share the jobs.
    INSTANCES = "instances": IntegerKind<u32> = IntegerKind(1..=MAX_INSTANCES), HasDefault(1), AtOnce;

    /// What the jobs that wait for it on a broker outlive, as in `[bus]`.
    DURABILITY = "durability": WordKind<Durability> = WordKind(bus::DURABILITIES), Optional("that of `[bus]`"), ByReplacement;
}

keys! {
    /// What `[defaults]` says for every worker.
    SHARED of "[defaults]";

    /// How many jobs one instance does at a time.
    CONCURRENCY = "concurrency": IntegerKind<u16> = IntegerKind(1..=u16::MAX), HasDefault(64), ByReplacement;

    /// How long one attempt at a job may take; then it is cancelled and counts as failed.
    TIMEOUT = "timeout": DurationKind = DurationKind::Positive, HasDefault(Duration::from_secs(30)), ByReplacement;

    /// How often a job that failed is tried again.
    RETRY = "retry": TableKind = TableKind(&retry::SECTION), Optional("each key has its default"), ByReplacement;

    /// How long a pipeline may take that this worker begins; no attempt is made that would be later.
    DEADLINE = "deadline": DurationOrOffKind = DurationOrOffKind, HasDefault(Some(Duration::from_secs(60 * 60))), ByReplacement;

    /// How long a worker's `start` may take.
    START_TIMEOUT = "start_timeout": DurationKind = DurationKind::FromZero, HasDefault(Duration::from_secs(30)), ByReplacement;

    /// How long the jobs in flight may take to finish when a worker is stopped; those that are left go back to the queue.
    DRAIN_TIMEOUT = "drain_timeout": DurationKind = DurationKind::FromZero, HasDefault(Duration::from_secs(10)), ByReplacement;

    /// How often a worker that failed is started again.
    RESTART = "restart": TableKind = TableKind(&restart::SECTION), Optional("each key has its default"), ByReplacement;

    /// What becomes of the jobs of a type once all of its workers are parked: `wait` keeps those that were accepted until their deadline,
    /// `fail` gives each up at once and keeps it as a dead letter.
    PARKED = "parked": WordKind<ParkedJobs> = WordKind(&[("wait", ParkedJobs::Wait), ("fail", ParkedJobs::Fail)]),
        HasDefault(ParkedJobs::Wait), ByReplacement;

    /// How many threads of blocking handlers may overrun `timeout` without coming back before the slot is parked.
    ABANDONED_THREADS = "abandoned_threads": IntegerKind<u32> = IntegerKind(1..=MAX_ABANDONED), HasDefault(4), ByReplacement;
}

keys! {
    /// Where a worker runs, and what it is given.
    PLACE of "[[worker]]";

    /// The sockets that the host listens on for the worker, by the names that its plugin asks for.
    LISTEN = "listen": ListenKind = ListenKind, Optional("none"), ByReplacement;

    /// Where the worker runs: `thread` is on threads of the host, `process` in a process of its own.
    ISOLATION = "isolation": WordKind<bool> = WordKind(&[("thread", false), ("process", true)]), HasDefault(false), ByReplacement;

    /// What the worker's process may use.
    LIMITS = "limits": TableKind = TableKind(&isolation::LIMITS), Optional("what the host may"), ByReplacement;

    /// What the worker's process may change and reach.
    SANDBOX = "sandbox": TableKind = TableKind(&isolation::SANDBOX), Optional("what the host may"), ByReplacement;

    /// What the plugin is given, written as `[worker.config]`; `mshost inspect` shows what a plugin takes.
    CONFIG = "config": PluginConfigKind = PluginConfigKind, Optional("an empty table"), ByReplacement;
}
