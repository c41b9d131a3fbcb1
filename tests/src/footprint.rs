//! What a running process holds, as the kernel sees it.

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// What a process holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Plugin libraries that are mapped, each version by itself.
    pub libraries: u64,
}

impl Footprint {
    /// That of a process of ours.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        Ok(Self {
            rss_kib: number("VmRSS"),
            threads: number("Threads"),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            libraries: libraries(pid, "")?,
        })
    }
}

/// How many versions of a plugin (of any, for `""`) are mapped: the host maps private copies from `…/shadow/`.
///
/// # Errors
/// Where the process has ended.
pub fn libraries(pid: u32, plugin: &str) -> io::Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let part = format!("/shadow/{}", if plugin.is_empty() { String::new() } else { format!("lib{plugin}.") });
    // Address, rights, offset, device, inode, path.
    let inodes = maps.lines().filter(|line| line.contains(&part)).filter_map(|line| line.split_whitespace().nth(4));
    Ok(inodes.collect::<BTreeSet<_>>().len() as u64)
}
