//! Place of the host in the hierarchy of cgroup v2.

use std::path::{Path, PathBuf};

/// The name of the host's own cgroup below the base: a cgroup with processes cannot enable controllers for those below it.
pub(super) const HOST_LEAF: &str = "mshost-host";

/// The folder of the cgroup that the host was started in, out of `/proc/self/cgroup` and `/proc/self/mountinfo`.
pub(super) fn base_folder(cgroup: &str, mountinfo: &str) -> Result<PathBuf, String> {
    let Some(path) = cgroup.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Err("this system has no cgroup v2".to_owned());
    };
    let path = Path::new(path);
    // Each mount shows what is below its root.
    let mut mounts = mountinfo.lines().filter_map(mount);
    let Some((below, point)) = mounts.find_map(|(root, point)| Some((path.strip_prefix(root).ok()?.to_owned(), point)))
    else {
        return Err(format!("cgroup v2 is not mounted where the host's own, {}, can be seen", path.display()));
    };
    let below = if below.ends_with(HOST_LEAF) { below.parent().unwrap_or(Path::new("")) } else { &below };
    Ok(if below.as_os_str().is_empty() { point } else { point.join(below) })
}

/// The root and the mount point of a line, where that is a cgroup v2's.
fn mount(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3).map(unescape);
    let (root, point) = (fields.next()?, fields.next()?);
    kind.starts_with("cgroup2 ").then_some((root, point))
}

/// The kernel writes what would end a field as an octal number.
fn unescape(field: &str) -> PathBuf {
    let replaced = field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    PathBuf::from(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str =
        "31 23 0:28 / /sys rw - tmpfs tmpfs rw\n24 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
    const HYBRID: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n";
    const BOUND: &str = "24 31 0:38 /docker/ab /a\\040folder rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn it_is_where_the_kernel_says() {
        let none = "4:pids:/x\n1:name=systemd:/x\n";
        for (cgroup, mounts, expected) in [
            ("0::/system.slice/mshost.service\n", UNIFIED, Ok("/sys/fs/cgroup/system.slice/mshost.service")),
            (
                "0::/system.slice/mshost.service/mshost-host\n",
                UNIFIED,
                Ok("/sys/fs/cgroup/system.slice/mshost.service"),
            ),
            ("0::/\n", UNIFIED, Ok("/sys/fs/cgroup")),
            ("0::/mshost-host\n", UNIFIED, Ok("/sys/fs/cgroup")),
            ("9:cpu:/\n0::/user.slice\n", HYBRID, Ok("/sys/fs/cgroup/unified/user.slice")),
            ("0::/docker/ab/c\n", BOUND, Ok("/a folder/c")),
            ("0::/docker/abc\n", BOUND, Err("cgroup v2 is not mounted where the host's own, /docker/abc, can be seen")),
            ("0::/\n", "", Err("cgroup v2 is not mounted where the host's own, /, can be seen")),
            (none, UNIFIED, Err("this system has no cgroup v2")),
        ] {
            let expected = expected.map(PathBuf::from).map_err(str::to_owned);
            assert_eq!(base_folder(cgroup, mounts), expected, "{cgroup}");
        }
    }
}
