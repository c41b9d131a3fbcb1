//! A cgroup (version 2) for a child: it holds what only a cgroup can, for the child and all that it starts.
//!
//! Each is made below the cgroup that the host was started in, where that was handed to the host, and removed with its child.

mod place;
mod room;
mod settings;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mshost_topology::ProcessLimits;
use parking_lot::Mutex;

use self::settings::Setting;

/// What the names of those of children begin with; the host's process id and a number follow.
const PREFIX: &str = "mshost-worker-";

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
    holds_memory: bool,
    /// It holds what nothing else can.
    is_needed: bool,
}

impl Cgroup {
    /// Makes one that holds `limits`; `None` where they need none, or where only `memory` would have one and none can be had.
    /// Blocks for some milliseconds, in a runtime.
    pub(super) fn create(limits: &ProcessLimits) -> Result<Option<Self>, String> {
        let (needed, memory) = (settings::needed(limits), settings::memory(limits));
        if needed.is_empty() && memory.is_empty() {
            return Ok(None);
        }
        let own = |name: &str| read(Path::new("/proc/self"), name);
        let base = own("cgroup").and_then(|cgroup| place::base(&cgroup, &own("mountinfo")?));
        let made = base.and_then(|base| {
            let made = Self::best(&base, &needed, &memory)?;
            stale(&base).for_each(|left| drop(tokio::spawn(left.remove())));
            Ok(made)
        });
        match made {
            Ok(made) => Ok(Some(made)),
            Err(why) if needed.is_empty() => {
                not_by_this(&why);
                Ok(None)
            }
            Err(why) => Err(refusal(&needed, &why)),
        }
    }

    /// One that holds all; where `memory` cannot be held, one that holds what is needed.
    fn best(base: &Path, needed: &[Setting], memory: &[Setting]) -> Result<Self, String> {
        if memory.is_empty() {
            return Self::below(base, needed);
        }
        match Self::below(base, &[needed, memory].concat()) {
            Err(why) if !needed.is_empty() => {
                not_by_this(&why);
                Self::below(base, needed)
            }
            made => made,
        }
    }

    fn below(base: &Path, settings: &[Setting]) -> Result<Self, String> {
        let _alone = MAKING.lock();
        let mut controllers: Vec<_> = settings.iter().map(|setting| setting.controller).collect();
        controllers.dedup();
        room::share_out(base, &controllers)?;
        let holds = |memory: bool| settings.iter().any(|setting| (setting.key == settings::MEMORY) == memory);
        let made = Self { folder: new_folder(base)?, holds_memory: holds(true), is_needed: holds(false) };
        settings.iter().try_for_each(|setting| setting.apply(&made.folder))?;
        Ok(made)
    }

    /// Whether `limits.memory` is one of what it holds.
    pub(super) fn holds_memory(&self) -> bool {
        self.holds_memory
    }

    /// Whether what was in it has been killed for using more than its `limits.memory`.
    pub(super) fn is_over_memory(&self) -> bool {
        self.holds_memory && settings::is_over_memory(&self.folder)
    }

    /// Takes a process in, with all that it starts from now on. `None` where it cannot, and holds nothing that must be held.
    pub(super) fn with(self, pid: u32) -> Result<Option<Self>, String> {
        match write(&self.folder, "cgroup.procs", &pid.to_string()) {
            Ok(()) => Ok(Some(self)),
            Err(why) if !self.is_needed => {
                not_by_this(&why);
                Ok(None)
            }
            Err(why) => Err(why),
        }
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

/// The process holds it for itself then.
fn not_by_this(why: &str) {
    tracing::debug!(target: "mshost::isolation", "no cgroup holds `limits.memory`: {why}");
}

fn refusal(needed: &[Setting], why: &str) -> String {
    let keys: Vec<_> = needed.iter().map(|setting| format!("`limits.{}`", setting.key)).collect();
    format!(
        "nothing can hold its {}: {why}; start the host in a cgroup v2 of its own that it may write to (for systemd: \
         `Delegate=yes` in the unit), or leave them out",
        keys.join(" and ")
    )
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
        (!alive).then(|| Cgroup { folder: entry.path(), holds_memory: false, is_needed: false })
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
