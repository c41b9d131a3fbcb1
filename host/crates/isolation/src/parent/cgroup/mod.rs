//! Cgroup (version 2) of a child: enforces the limits that only a cgroup can, on the child and all that it starts.
//!
//! Each is created below the cgroup that the host was started in, where that was delegated to the host, and removed with its
//! child.

mod delegation;
mod files;
mod hierarchy;
mod settings;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mshost_topology::ProcessLimits;
use parking_lot::Mutex;

use self::files::{read, write};
use self::settings::CgroupSetting;

/// Prefix of the names of children's cgroups; the host's process id and a number follow.
const PREFIX: &str = "mshost-worker-";

/// How often removing a cgroup whose processes are being killed is tried, and the time between.
const REMOVE_ATTEMPTS: usize = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// Held while a cgroup is created: several children may start at a time.
static CREATING: Mutex<()> = Mutex::new(());
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// The cgroup of a child. Dropping it kills the processes in it.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
    holds_memory: bool,
    /// Whether it enforces a limit that nothing else can.
    is_needed: bool,
}

impl Cgroup {
    /// Creates one that enforces `limits`; `None` where they need none, or where only `memory` would use one and none can be
    /// created. Blocks for some milliseconds; to be called in a runtime.
    pub(super) fn create(limits: &ProcessLimits) -> Result<Option<Self>, String> {
        let (needed, memory) = (settings::needed(limits), settings::memory(limits));
        if needed.is_empty() && memory.is_empty() {
            return Ok(None);
        }
        let own = |name: &str| read(Path::new("/proc/self"), name);
        let base = own("cgroup").and_then(|cgroup| hierarchy::base_folder(&cgroup, &own("mountinfo")?));
        let created = base.and_then(|base| {
            let created = Self::create_best(&base, &needed, &memory)?;
            stale(&base).for_each(|left| drop(tokio::spawn(left.remove())));
            Ok(created)
        });
        match created {
            Ok(created) => Ok(Some(created)),
            Err(why) if needed.is_empty() => {
                log_memory_without_cgroup(&why);
                Ok(None)
            }
            Err(why) => Err(refusal(&needed, &why)),
        }
    }

    /// Creates one that enforces all limits; where it cannot enforce `memory`, one for the limits that need it.
    fn create_best(base: &Path, needed: &[CgroupSetting], memory: &[CgroupSetting]) -> Result<Self, String> {
        if memory.is_empty() {
            return Self::create_below(base, needed);
        }
        match Self::create_below(base, &[needed, memory].concat()) {
            Err(why) if !needed.is_empty() => {
                log_memory_without_cgroup(&why);
                Self::create_below(base, needed)
            }
            created => created,
        }
    }

    fn create_below(base: &Path, settings: &[CgroupSetting]) -> Result<Self, String> {
        let _alone = CREATING.lock();
        let mut controllers: Vec<_> = settings.iter().map(|setting| setting.controller).collect();
        controllers.dedup();
        delegation::enable_controllers(base, &controllers)?;
        let holds = |memory: bool| settings.iter().any(|setting| (setting.key == settings::MEMORY) == memory);
        let created = Self { folder: new_folder(base)?, holds_memory: holds(true), is_needed: holds(false) };
        settings.iter().try_for_each(|setting| setting.apply(&created.folder))?;
        Ok(created)
    }

    /// Whether it enforces `limits.memory`.
    pub(super) fn holds_memory(&self) -> bool {
        self.holds_memory
    }

    /// Whether its processes were killed for using more than `limits.memory`.
    pub(super) fn is_over_memory(&self) -> bool {
        self.holds_memory && settings::is_over_memory(&self.folder)
    }

    /// Moves a process in, with all that it starts from now on. `None` where that fails and no limit needs the cgroup.
    pub(super) fn with_process(self, pid: u32) -> Result<Option<Self>, String> {
        match write(&self.folder, "cgroup.procs", &pid.to_string()) {
            Ok(()) => Ok(Some(self)),
            Err(why) if !self.is_needed => {
                log_memory_without_cgroup(&why);
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }

    /// Kills the processes in it, and removes it.
    pub(super) async fn remove(self) {
        for _ in 0..REMOVE_ATTEMPTS {
            if self.try_remove() {
                return;
            }
            tokio::time::sleep(REMOVE_PAUSE).await;
        }
        tracing::warn!(target: "mshost::isolation", "{} cannot be removed: it still holds processes", self.folder.display());
    }

    /// `true` where it is removed. Where it still holds processes, they are being killed.
    fn try_remove(&self) -> bool {
        match fs::remove_dir(&self.folder) {
            Ok(()) => return true,
            // Another task that starts a child removes stale ones, too.
            Err(error) if error.kind() == ErrorKind::NotFound => return true,
            Err(_) => {}
        }
        // Kernels before 5.14 cannot. What is left then keeps the cgroup, and its limits.
        let _ = fs::write(self.folder.join("cgroup.kill"), "1");
        false
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !self.try_remove() {
            // The next host removes what is left.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Logs that `limits.memory` is enforced by RLIMIT_DATA only.
fn log_memory_without_cgroup(why: &str) {
    tracing::debug!(target: "mshost::isolation", "no cgroup holds `limits.memory`: {why}");
}

/// The error where no cgroup can be had for limits that need one.
fn refusal(needed: &[CgroupSetting], why: &str) -> String {
    let keys: Vec<_> = needed.iter().map(|setting| format!("`limits.{}`", setting.key)).collect();
    format!(
        "nothing can hold its {}: {why}; start the host in a cgroup v2 of its own that it may write to (for systemd: \
         `Delegate=yes` in the unit), or leave them out",
        keys.join(" and ")
    )
}

/// Creates the folder of a new cgroup.
fn new_folder(base: &Path) -> Result<PathBuf, String> {
    loop {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = base.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            // Left by a host that had this process id before.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("{} cannot be made: {error}", folder.display())),
        }
    }
}

/// The cgroups of hosts that were killed; processes that their plugins had started may still run in them.
fn stale(base: &Path) -> impl Iterator<Item = Cgroup> {
    fs::read_dir(base).into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        let owner: u32 = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()?;
        let alive = Path::new(&format!("/proc/{owner}")).exists();
        (!alive).then(|| Cgroup { folder: entry.path(), holds_memory: false, is_needed: false })
    })
}

#[cfg(test)]
mod tests;
