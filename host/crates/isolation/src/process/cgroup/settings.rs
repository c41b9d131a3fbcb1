//! What a cgroup is told, for each limit.

use std::path::Path;

use mshost_topology::ProcessLimits;

use super::{read, write};

/// In which time the kernel counts what is computed, in microseconds.
const PERIOD: u64 = 100_000;

/// The one that is not needed, since the process holds it for itself as well as it can.
pub(super) const MEMORY: &str = "memory";

/// What holds a limit, or a part of it.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) controller: &'static str,
    file: &'static str,
    value: String,
    /// Not each kernel has its file.
    is_optional: bool,
}

impl Setting {
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

/// Those of limits that nothing else can hold.
pub(super) fn needed(limits: &ProcessLimits) -> Vec<Setting> {
    let cpus = limits.milli_cpus.map(|milli| {
        let value = format!("{} {PERIOD}", u64::from(milli) * PERIOD / 1_000);
        Setting::new("cpus", "cpu", "cpu.max", value)
    });
    let tasks = limits.tasks.map(|tasks| Setting::new("tasks", "pids", "pids.max", tasks.to_string()));
    [cpus, tasks].into_iter().flatten().collect()
}

/// Those of `memory`.
pub(super) fn memory(limits: &ProcessLimits) -> Vec<Setting> {
    let Some(bytes) = limits.memory else { return Vec::new() };
    let of_memory = |file, value| Setting::new(MEMORY, "memory", file, value);
    vec![
        of_memory("memory.max", bytes.to_string()),
        // Without swap there is no such file.
        Setting { is_optional: true, ..of_memory("memory.swap.max", "0".to_owned()) },
        // What is left of it without its main process would be nobody's.
        of_memory("memory.oom.group", "1".to_owned()),
    ]
}

/// Whether the kernel has killed what is in there for want of memory, since it was at its own limit and not for a want elsewhere.
pub(super) fn is_over_memory(folder: &Path) -> bool {
    let events = read(folder, "memory.events").unwrap_or_default();
    let has = |name: &str| {
        let count = events.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        count.is_some_and(|count| count.trim() != "0")
    };
    has("oom") && has("oom_kill")
}
