#![allow(clippy::unwrap_used)]
use tempfile::TempDir;

use super::*;

/// A folder that looks like a cgroup of the kernel's.
fn fake(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn both() -> Vec<CgroupSetting> {
    settings::needed(&ProcessLimits { milli_cpus: Some(1_500), tasks: Some(64), ..ProcessLimits::default() })
}

fn memory() -> Vec<CgroupSetting> {
    settings::memory(&ProcessLimits { memory: Some(256 << 20), ..ProcessLimits::default() })
}

fn refused(files: &[(&str, &str)]) -> String {
    let folder = fake(files);
    let why = Cgroup::create_below(folder.path(), &both()).unwrap_err();
    why.replace(folder.path().to_str().unwrap(), "BASE")
}

#[test]
fn limits_that_need_none_get_none() {
    let limits = ProcessLimits { open_files: Some(64), ..ProcessLimits::default() };
    assert!(Cgroup::create(&limits).unwrap().is_none());
}

#[test]
fn what_is_asked_for_is_written_before_a_process_is_in_it() {
    let base = fake(&[
        ("cgroup.type", "domain\n"),
        ("cgroup.controllers", "cpuset cpu io memory pids\n"),
        ("cgroup.subtree_control", "memory\n"),
        ("cgroup.procs", ""),
    ]);
    let made = Cgroup::create_below(base.path(), &both()).unwrap();
    assert_eq!(read(base.path(), "cgroup.subtree_control").unwrap(), "+cpu +pids");
    assert_eq!(read(&made.folder, "cpu.max").unwrap(), "150000 100000");
    assert_eq!(read(&made.folder, "pids.max").unwrap(), "64");
    assert!(!made.folder.join("cgroup.procs").exists());
    let made = made.with_process(7).unwrap().unwrap();
    assert_eq!(read(&made.folder, "cgroup.procs").unwrap(), "7");
}

#[test]
fn memory_is_held_where_that_can_be_had() {
    let fake = |controllers| {
        fake(&[
            ("cgroup.type", "domain\n"),
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", ""),
            ("cgroup.procs", ""),
        ])
    };
    for (needed, shared) in [(Vec::new(), "+memory"), (both(), "+cpu +pids +memory")] {
        let base = fake("cpu memory pids\n");
        let made = Cgroup::create_best(base.path(), &needed, &memory()).unwrap();
        assert!(made.holds_memory());
        assert_eq!(read(base.path(), "cgroup.subtree_control").unwrap(), shared);
        assert_eq!(read(&made.folder, "memory.max").unwrap(), "268435456");
        assert_eq!(read(&made.folder, "memory.oom.group").unwrap(), "1");
        assert_eq!(made.folder.join("cpu.max").exists(), !needed.is_empty());
        // Where the kernel has it, it is set.
        assert!(!made.folder.join("memory.swap.max").exists());
        fs::write(made.folder.join("memory.swap.max"), "max\n").unwrap();
        memory().iter().for_each(|setting| setting.apply(&made.folder).unwrap());
        assert_eq!(read(&made.folder, "memory.swap.max").unwrap(), "0");
        // As if the kernel would not have a process in there.
        fs::create_dir(made.folder.join("cgroup.procs")).unwrap();
        assert_eq!(made.with_process(7).is_ok_and(|made| made.is_none()), needed.is_empty());
    }
    // Alone it has none; with others, one for them.
    let base = fake("cpu pids\n");
    assert!(Cgroup::create_best(base.path(), &[], &memory()).unwrap_err().contains("has no controller `memory`"));
    let made = Cgroup::create_best(base.path(), &both(), &memory()).unwrap();
    assert!(!made.holds_memory() && !made.folder.join("memory.max").exists());
    assert_eq!(read(&made.folder, "pids.max").unwrap(), "64");
    // What is needed is asked for all the same.
    let base = fake("memory\n");
    assert!(Cgroup::create_best(base.path(), &both(), &memory()).unwrap_err().contains("has no controller `cpu`"));
}

#[test]
fn a_death_at_its_own_limit_is_told_from_one_for_want_of_memory_elsewhere() {
    for (events, over) in [
        ("low 0\nhigh 0\nmax 41\noom 1\noom_kill 1\noom_group_kill 1\n", true),
        ("low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 0\n", false),
        ("low 0\nhigh 0\nmax 7\noom 1\noom_kill 0\n", false),
        ("", false),
    ] {
        let folder = fake(&[("memory.events", events)]);
        let made = |holds_memory| Cgroup { folder: folder.path().to_owned(), holds_memory, is_needed: false };
        assert_eq!(made(true).is_over_memory(), over, "{events}");
        assert!(!made(false).is_over_memory());
    }
    let without = fake(&[]);
    assert!(!Cgroup { folder: without.path().to_owned(), holds_memory: true, is_needed: false }.is_over_memory());
}

#[test]
fn what_is_not_the_hosts_is_left_alone() {
    let domain = ("cgroup.type", "domain\n");
    let (all, none) = (("cgroup.controllers", "cpu pids\n"), ("cgroup.subtree_control", ""));
    assert_eq!(refused(&[all, none]), "the host runs in BASE, the root of the system, which is not its own");
    assert_eq!(
        refused(&[domain, ("cgroup.controllers", "cpu memory\n"), none]),
        "BASE has no controller `pids`, only: cpu memory"
    );
    assert_eq!(
        refused(&[domain, all, none, ("cgroup.procs", "1\n")]),
        "BASE holds a process that is not the host's (1)"
    );
}

#[test]
fn the_host_makes_room_and_then_leaves_it_at_that() {
    let own = std::process::id().to_string();
    let files = [
        ("cgroup.type", "domain\n"),
        ("cgroup.controllers", "cpu pids\n"),
        ("cgroup.subtree_control", ""),
        ("cgroup.procs", &*own),
    ];
    // No kernel takes it out of the list here.
    assert_eq!(refused(&files), "BASE does not get empty");
    let base = fake(&files);
    assert!(Cgroup::create_below(base.path(), &both()).is_err());
    assert_eq!(read(&base.path().join(hierarchy::HOST_LEAF), "cgroup.procs").unwrap(), own);
    // Where it shares out already, nobody is moved.
    let base = fake(&[("cgroup.subtree_control", "pids cpu\n"), files[0], files[1], files[3]]);
    Cgroup::create_below(base.path(), &both()).unwrap();
    assert!(!base.path().join(hierarchy::HOST_LEAF).exists());
}

#[tokio::test]
async fn those_of_dead_hosts_are_removed_and_no_others() {
    let base = fake(&[]);
    // Beyond any process id.
    let dead = ["0", "1"].map(|number| base.path().join(format!("{PREFIX}{}-{number}", u32::MAX)));
    let others = [format!("{PREFIX}{}-9", std::process::id()), "mshost-worker-x-1".to_owned(), "db.service".to_owned()];
    let others = others.map(|name| base.path().join(name));
    for folder in others.iter().chain(&dead) {
        fs::create_dir(folder).unwrap();
    }
    // As if it held a process: the kernel refuses to remove it, too.
    fs::write(dead[1].join("cgroup.procs"), "7").unwrap();
    stale(base.path()).for_each(drop);
    assert!(!dead[0].exists());
    assert_eq!(read(&dead[1], "cgroup.kill").unwrap(), "1");
    assert!(others.iter().all(|folder| folder.exists() && !folder.join("cgroup.kill").exists()));
    // Somebody else may have removed it.
    Cgroup { folder: dead[0].clone(), holds_memory: false, is_needed: true }.remove().await;
}

#[test]
fn one_that_a_host_of_the_same_process_id_has_left_is_in_nobodys_way() {
    let base = fake(&[]);
    let next = NEXT_NUMBER.load(Ordering::Relaxed);
    // Other tests count, too.
    for number in next..next + 100 {
        fs::create_dir(base.path().join(format!("{PREFIX}{}-{number}", std::process::id()))).unwrap();
    }
    let folder = new_folder(base.path()).unwrap();
    assert!(folder.is_dir());
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 101);
}
