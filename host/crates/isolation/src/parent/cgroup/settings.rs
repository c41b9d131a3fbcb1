//! Settings of a cgroup for each limit.

use std::path::Path;

use mshost_topology::ProcessLimits;

use super::files::{read, write};

/// The period of `cpu.max`, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// The limit that needs no cgroup, since RLIMIT_DATA enforces most of it.
pub(super) const MEMORY: &str = "memory";

/// A value of a control file that enforces a limit, or a part of it.
#[derive(Clone)]
pub(super) struct CgroupSetting {
    pub(super) key: &'static str,
    pub(super) controller: &'static str,
    file: &'static str,
    value: String,
    /// Whether a kernel may lack the file.
    is_optional: bool,
}

impl CgroupSetting {
    fn new(key: &'static str, controller: &'static str, file: &'static str, value: String) -> Self {
        Self { key, controller, file, value, is_optional: false }
    }

    pub(super) fn apply(&self, folder: &Path) -> Result<(), String> {
        if self.is_optional && !folder.join(self.file).exists() {
            return Ok(());
        }
        write(folder, self.file, &self.value)
    }
}

/// The settings of the limits that only a cgroup can enforce.
pub(super) fn needed(limits: &ProcessLimits) -> Vec<CgroupSetting> {
    let cpus = limits.milli_cpus.map(|milli| {
        let value = format!("{} {CPU_PERIOD}", u64::from(milli) * CPU_PERIOD / 1_000);
        CgroupSetting::new("cpus", "cpu", "cpu.max", value)
    });
    let tasks = limits.tasks.map(|tasks| CgroupSetting::new("tasks", "pids", "pids.max", tasks.to_string()));
    [cpus, tasks].into_iter().flatten().collect()
}

/// The settings of `memory`.
pub(super) fn memory(limits: &ProcessLimits) -> Vec<CgroupSetting> {
    let Some(bytes) = limits.memory else { return Vec::new() };
    let of_memory = |file, value| CgroupSetting::new(MEMORY, "memory", file, value);
    vec![
        of_memory("memory.max", bytes.to_string()),
        // Without swap there is no such file.
        CgroupSetting { is_optional: true, ..of_memory("memory.swap.max", "0".to_owned()) },
        // Without its main process the rest of it is of no use.
        of_memory("memory.oom.group", "1".to_owned()),
    ]
}

/// Whether the kernel has killed processes in the cgroup because it was at its own memory limit, not for lack of memory elsewhere.
pub(super) fn is_over_memory(folder: &Path) -> bool {
    let events = read(folder, "memory.events").unwrap_or_default();
    let has = |name: &str| {
        let count = events.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        count.is_some_and(|count| count.trim() != "0")
    };
    has("oom") && has("oom_kill")
}
