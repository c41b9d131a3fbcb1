//! Delegation of controllers: a cgroup that holds processes cannot enable controllers for the cgroups below it.

use std::fs;
use std::path::Path;

use super::files::{read, write};
use super::hierarchy::HOST_LEAF;

/// How often the processes are listed again: a child may be started meanwhile.
const MAX_ROUNDS: usize = 20;

/// Enables `controllers` for the cgroups below `base`. Moves this process and its children out of `base`, and no other.
pub(super) fn enable_controllers(base: &Path, controllers: &[&str]) -> Result<(), String> {
    if !base.join("cgroup.type").exists() {
        return Err(format!("the host runs in {}, the root of the system, which is not its own", base.display()));
    }
    let available = read(base, "cgroup.controllers")?;
    if let Some(missing) = controllers.iter().find(|name| !has(&available, name)) {
        return Err(format!("{} has no controller `{missing}`, only: {}", base.display(), available.trim()));
    }
    let shared = read(base, "cgroup.subtree_control")?;
    if controllers.iter().all(|name| has(&shared, name)) {
        return Ok(());
    }
    let wanted: Vec<_> = controllers.iter().map(|name| format!("+{name}")).collect();
    for _ in 0..MAX_ROUNDS {
        if move_processes(base)? {
            return write(base, "cgroup.subtree_control", &wanted.join(" "));
        }
    }
    Err(format!("{} does not get empty", base.display()))
}

fn has(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|listed| listed == name)
}

/// Moves the host's processes into a cgroup of its own; `true` where there were none.
fn move_processes(base: &Path) -> Result<bool, String> {
    let members = read(base, "cgroup.procs")?;
    let members: Vec<&str> = members.lines().collect();
    let own = std::process::id().to_string();
    if let Some(foreign) = members.iter().find(|pid| **pid != own && !is_child(pid, &own)) {
        return Err(format!("{} holds a process that is not the host's ({foreign})", base.display()));
    }
    if members.is_empty() {
        return Ok(true);
    }
    let leaf = base.join(HOST_LEAF);
    if !leaf.exists() {
        fs::create_dir(&leaf).map_err(|error| format!("{} cannot be made: {error}", leaf.display()))?;
    }
    for pid in members {
        // A child may have ended meanwhile; one that is left is seen in the next round.
        let moved = write(&leaf, "cgroup.procs", pid);
        if pid == own {
            moved?;
        }
    }
    Ok(false)
}

/// Whether the process is a child of `parent`, or gone.
fn is_child(pid: &str, parent: &str) -> bool {
    // The kernel lists a process of an outer namespace as 0.
    if pid == "0" {
        return false;
    }
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    status.lines().find_map(|line| line.strip_prefix("PPid:")).is_some_and(|found| found.trim() == parent)
}
