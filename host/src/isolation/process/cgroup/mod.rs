//! A cgroup (version 2) for a child: it holds what only a cgroup can, for the child and all that it starts.
//!
//! Each is made below the cgroup that the host was started in, where that was handed to the host, and removed with its child.

mod place;
mod room;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::topology::ProcessLimits;

/// What the names of those of children begin with; the host's process id and a number follow.
const PREFIX: &str = "mshost-worker-";

/// In which time the kernel counts what is computed, in microseconds.
const PERIOD: u64 = 100_000;

/// How often it is tried to remove one whose processes are being killed, and the time between.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Several children may start at a time.
static MAKING: Mutex<()> = Mutex::new(());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// See the module. Dropping it kills what is in it.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Makes one that holds `limits`; `None` where they need none. Blocks for some milliseconds, in a runtime.
    pub(super) fn create(limits: &ProcessLimits) -> Result<Option<Self>, String> {
        let settings = settings(limits);
        if settings.is_empty() {
            return Ok(None);
        }
        let base = || {
            let own = |name: &str| read(Path::new("/proc/self"), name);
            place::base(&own("cgroup")?, &own("mountinfo")?)
        };
        let make = |base: PathBuf| {
            let made = Self::below(&base, &settings)?;
            stale(&base).for_each(|left| drop(tokio::spawn(left.remove())));
            Ok(Some(made))
        };
        base().and_then(make).map_err(|why: String| {
            let keys: Vec<_> = settings.iter().map(|setting| format!("`limits.{}`", setting.key)).collect();
            format!(
                "nothing can hold its {}: {why}; start the host in a cgroup v2 of its own that it may write to (for systemd: \
                 `Delegate=yes` in the unit), or leave them out",
                keys.join(" and ")
            )
        })
    }

    fn below(base: &Path, settings: &[Setting]) -> Result<Self, String> {
        let _alone = MAKING.lock();
        let controllers: Vec<_> = settings.iter().map(|setting| setting.controller).collect();
        room::share_out(base, &controllers)?;
        let made = Self { folder: new_folder(base)? };
        for setting in settings {
            write(&made.folder, setting.file, &setting.value)?;
        }
        Ok(made)
    }

    /// Takes a process in, with all that it starts from now on.
    pub(super) fn add(&self, pid: u32) -> Result<(), String> {
        write(&self.folder, "cgroup.procs", &pid.to_string())
    }

    /// Kills what is still in it, and removes it.
    pub(super) async fn remove(self) {
        for _ in 0..ATTEMPTS {
            if self.try_remove() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!(target: "mshost::isolation", "{} cannot be removed: it still holds processes", self.folder.display());
    }

    /// Whether it is gone. Where it still holds processes, they are being killed.
    fn try_remove(&self) -> bool {
        match fs::remove_dir(&self.folder) {
            Ok(()) => return true,
            // Another that starts a child clears up, too.
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
            // What is not removed here is by the next host.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// What holds a limit.
struct Setting {
    key: &'static str,
    controller: &'static str,
    file: &'static str,
    value: String,
}

fn settings(limits: &ProcessLimits) -> Vec<Setting> {
    let cpus = limits.milli_cpus.map(|milli| {
        let value = format!("{} {PERIOD}", u64::from(milli) * PERIOD / 1_000);
        Setting { key: "cpus", controller: "cpu", file: "cpu.max", value }
    });
    let tasks = limits.tasks.map(|tasks| Setting {
        key: "tasks",
        controller: "pids",
        file: "pids.max",
        value: tasks.to_string(),
    });
    [cpus, tasks].into_iter().flatten().collect()
}

/// Makes the folder of another.
fn new_folder(base: &Path) -> Result<PathBuf, String> {
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = base.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            // Left by a host that had this process id before.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("{} cannot be made: {error}", folder.display())),
        }
    }
}

/// What hosts have left that were killed; what their plugins had started may still run in there.
fn stale(base: &Path) -> impl Iterator<Item = Cgroup> {
    fs::read_dir(base).into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        let owner: u32 = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()?;
        let alive = Path::new(&format!("/proc/{owner}")).exists();
        (!alive).then(|| Cgroup { folder: entry.path() })
    })
}

fn read(folder: &Path, name: &str) -> Result<String, String> {
    let path = folder.join(name);
    fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

fn write(folder: &Path, name: &str, value: &str) -> Result<(), String> {
    let path = folder.join(name);
    fs::write(&path, value).map_err(|error| format!("`{value}` cannot be written to {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
