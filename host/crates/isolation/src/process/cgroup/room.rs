//! Making room: a cgroup that holds processes cannot share out what it may use among cgroups below it.

use std::fs;
use std::path::Path;

use super::place::LEAF;
use super::{read, write};

/// How often it is looked anew: a child may be started meanwhile.
const LOOKS: usize = 20;

/// Has the cgroup at `base` share out with `controllers`. Moves this process and its children, and none else.
pub(super) fn share_out(base: &Path, controllers: &[&str]) -> Result<(), String> {
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
    for _ in 0..LOOKS {
        if vacate(base)? {
            return write(base, "cgroup.subtree_control", &wanted.join(" "));
        }
    }
    Err(format!("{} does not get empty", base.display()))
}

fn has(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|listed| listed == name)
}

/// Moves what is the host's into a cgroup of its own; says whether there was nothing.
fn vacate(base: &Path) -> Result<bool, String> {
    let members = read(base, "cgroup.procs")?;
    let members: Vec<&str> = members.lines().collect();
    let own = std::process::id().to_string();
    if let Some(foreign) = members.iter().find(|pid| **pid != own && !is_child(pid, &own)) {
        return Err(format!("{} holds a process that is not the host's ({foreign})", base.display()));
    }
    if members.is_empty() {
        return Ok(true);
    }
    let leaf = base.join(LEAF);
    if !leaf.exists() {
        fs::create_dir(&leaf).map_err(|error| format!("{} cannot be made: {error}", leaf.display()))?;
    }
    for pid in members {
        // A child that has ended meanwhile is nobody's loss; one that is left is seen at the next look.
        let moved = write(&leaf, "cgroup.procs", pid);
        if pid == own {
            moved?;
        }
    }
    Ok(false)
}

/// Whether it is a child of the process `parent`, or gone.
fn is_child(pid: &str, parent: &str) -> bool {
    // The kernel says 0 of a process that cannot be seen from here.
    if pid == "0" {
        return false;
    }
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    status.lines().find_map(|line| line.strip_prefix("PPid:")).is_some_and(|found| found.trim() == parent)
}
