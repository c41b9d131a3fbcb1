//! The keys of `limits` and `sandbox` in `[[worker]]`.

use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::{DurationKind, IntegerKind, ListKind, NumberKind, SizeKind, WorkingPathKind};

/// What any process needs that runs a plugin, in bytes: less would only ever fail.
const LEAST_MEMORY: u64 = 16 << 20;
/// More than any machine has.
const MOST_MEMORY: u64 = 1 << 50;
/// The runtime's own, the log's, the sockets': less would only ever fail.
const LEAST_FILES: u64 = 32;
/// The least share of a CPU: with less a process would not answer in time.
const LEAST_CPUS: f64 = 0.05;
/// More than any machine has.
const MOST_CPUS: f64 = 4096.0;
/// The runtime's own threads and the plugin's: less would only ever fail.
const LEAST_TASKS: u64 = 16;

const PORTS: ListKind<IntegerKind<u16>> = ListKind { entries: "ports", each: IntegerKind(1..=u16::MAX) };

pub(crate) static LIMITS: ConfigSection = ConfigSection {
    heading: "`limits`",
    role: SectionRole::Nested,
    doc: "What the process of a worker may use; only with `isolation = \"process\"`. `cpus` and `tasks` need a cgroup v2 of the host's own \
          (systemd: `Delegate=yes`).",
    example: "[[worker]]\ntype = \"WL\"\nplugin = \"limited\"\nisolation = \"process\"\nlimits = { memory = \"512MiB\", cpu_time = \"1h\", open_files = 256 }\n",
    keys: &[LIMIT_KEYS],
};

keys! {
    /// The keys of `limits`.
    LIMIT_KEYS of "`limits`";

    /// The most memory that the process writes to; where a cgroup can hold it, the most that it and what it starts use in all.
    MEMORY = "memory": SizeKind = SizeKind(LEAST_MEMORY..=MOST_MEMORY), Optional("what the host may"), ByReplacement;

    /// The most CPU time that the process may use in all; rounded up to whole seconds.
    CPU_TIME = "cpu_time": DurationKind = DurationKind::Positive, Optional("what the host may"), ByReplacement;

    /// The most files and sockets that the process has open.
    OPEN_FILES = "open_files": IntegerKind<u64> = IntegerKind(LEAST_FILES..=1 << 20), Optional("what the host may"), ByReplacement;

    /// How many CPUs the process and what it starts may use at a time.
    CPUS = "cpus": NumberKind = NumberKind(LEAST_CPUS..=MOST_CPUS), Optional("what the host may"), ByReplacement;

    /// The most threads and processes that the process and what it starts have.
    TASKS = "tasks": IntegerKind<u64> = IntegerKind(LEAST_TASKS..=1 << 22), Optional("what the host may"), ByReplacement;
}

pub(crate) static SANDBOX: ConfigSection = ConfigSection {
    heading: "`sandbox`",
    role: SectionRole::Nested,
    doc: "What the process of a worker may change and reach; only with `isolation = \"process\"`, on Linux 6.7 or later (Landlock). With \
          this table, what is not listed is refused.",
    example: "[[worker]]\ntype = \"WS\"\nplugin = \"sandboxed\"\nisolation = \"process\"\nsandbox = { write = [\"state\"], connect = [5432] }\n",
    keys: &[SANDBOX_KEYS],
};

keys! {
    /// The keys of `sandbox`.
    SANDBOX_KEYS of "`sandbox`";

    /// Files, and folders with all that is in them, that the process may write, make and remove; relative to the folder that the host
    /// was started in.
    WRITE = "write": ListKind<WorkingPathKind> = ListKind { entries: "paths", each: WorkingPathKind }, Optional("none"), ByReplacement;

    /// The TCP ports that the process may connect to.
    CONNECT = "connect": ListKind<IntegerKind<u16>> = PORTS, Optional("none"), ByReplacement;

    /// The TCP ports that the process may listen on itself; the sockets of `listen` are the host's.
    BIND = "bind": ListKind<IntegerKind<u16>> = PORTS, Optional("none"), ByReplacement;
}
