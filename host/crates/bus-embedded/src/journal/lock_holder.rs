//! The process that has a journal open, as far as the system tells.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The bytes that SQLite locks in a database, whatever is in it.
const LOCKED: std::ops::Range<u64> = 0x4000_0000..0x4000_0200;

/// Another process that has locked a database: its id, and its name where that can be seen. Nothing is opened, since closing
/// a file lets go of the locks that this process has on it.
pub(super) fn lock_holder(file: &Path) -> Option<String> {
    let inode = fs::metadata(file).ok()?.ino();
    let pid =
        lock_holder_in(&fs::read_to_string("/proc/locks").ok()?, inode).filter(|pid| *pid != std::process::id())?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim_end();
    Some(if name.is_empty() { format!("process {pid}") } else { format!("process {pid} ({name})") })
}

/// Reads lines like `1: POSIX  ADVISORY  WRITE 26475 fe:00:10010762 1073741824 1073742335`. Those that only wait begin with
/// `1: ->`.
fn lock_holder_in(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|senders| {
        let mut fields = senders.split_whitespace().skip(1);
        let [kind, _, _, pid, file, start] = std::array::from_fn(|_| fields.next().unwrap_or_default());
        let of_file = file.rsplit(':').next() == Some(&inode.to_string());
        let of_database = kind == "POSIX" && start.parse().is_ok_and(|start| LOCKED.contains(&start));
        if of_file && of_database { pid.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_among_the_locks_of_others() {
        let locks = "\
1: FLOCK  ADVISORY  WRITE 1 fe:00:77 0 EOF
2: POSIX  ADVISORY  WRITE 2 fe:00:770 1073741824 1073742335
2: -> POSIX  ADVISORY  WRITE 3 fe:00:77 1073741824 1073742335
3: POSIX  ADVISORY  WRITE 4 fe:00:77 0 EOF
4: POSIX  ADVISORY  WRITE 5 fe:00:77 1073741826 1073742335
";
        assert_eq!((lock_holder_in(locks, 77), lock_holder_in(locks, 78)), (Some(5), None));
        assert_eq!(lock_holder_in("1: POSIX", 77), None);
    }
}
