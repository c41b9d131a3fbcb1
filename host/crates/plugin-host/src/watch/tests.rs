#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use mshost_core::ids::PluginName;
use tempfile::TempDir;

use super::*;

/// Far above what any test needs: reached only where a change is never reported.
const NEVER: Duration = Duration::from_secs(20);

/// Events only: a change that is found by looking at intervals would not be found in time.
fn by_events() -> WatchSettings {
    let quiet = Duration::from_millis(40);
    WatchSettings { mode: WatchMode::Native, quiet, max_wait: quiet * 10, rescan: NEVER * 2 }
}

fn by_looking() -> WatchSettings {
    WatchSettings { mode: WatchMode::Poll, rescan: Duration::from_millis(20), ..by_events() }
}

fn roots(dir: &Path) -> Roots {
    Roots { folders: [dir.join("plugins")].into(), files: [dir.join("topology.toml")].into() }
}

fn dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("plugins")).unwrap();
    fs::write(dir.path().join("topology.toml"), "one").unwrap();
    dir
}

async fn changed(watcher: &mut Watcher) -> Vec<String> {
    let paths = tokio::time::timeout(NEVER, watcher.changed()).await.expect("a change is reported");
    paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Runs `change` under each way of watching and expects these files to be reported for it.
async fn reports(prepare: impl Fn(&Path), change: impl Fn(&Path), expected: &[&str]) {
    for settings in [by_events(), by_looking()] {
        let dir = dir();
        prepare(dir.path());
        let mut watcher = Watcher::new(roots(dir.path()), settings.clone());
        change(dir.path());
        assert_eq!(changed(&mut watcher).await, expected, "{:?}", settings.mode);
    }
}

#[tokio::test]
async fn files_that_come_go_or_are_rewritten() {
    let file = |dir: &Path| dir.join("plugins/libdb.so");
    reports(|_| {}, |dir| fs::write(file(dir), "new").unwrap(), &["libdb.so"]).await;
    let there = |dir: &Path| fs::write(file(dir), "old").unwrap();
    reports(there, |dir| fs::write(file(dir), "new").unwrap(), &["libdb.so"]).await;
    reports(there, |dir| fs::remove_file(file(dir)).unwrap(), &["libdb.so"]).await;
    reports(there, |dir| fs::rename(file(dir), dir.join("plugins/libsql.so")).unwrap(), &["libdb.so", "libsql.so"])
        .await;
}

#[tokio::test]
async fn a_file_renamed_over_another_as_editors_and_installers_do() {
    let change = |dir: &Path| {
        fs::write(dir.join("plugins/.libdb.so.tmp"), "new").unwrap();
        fs::rename(dir.join("plugins/.libdb.so.tmp"), dir.join("plugins/libdb.so")).unwrap();
        fs::write(dir.join("topology.toml~"), "two").unwrap();
        fs::rename(dir.join("topology.toml~"), dir.join("topology.toml")).unwrap();
    };
    reports(|dir| fs::write(dir.join("plugins/libdb.so"), "old").unwrap(), change, &["libdb.so", "topology.toml"])
        .await;
}

#[tokio::test]
async fn a_link_that_is_swapped() {
    let prepare = |dir: &Path| {
        fs::write(dir.join("v1"), "one").unwrap();
        fs::write(dir.join("v2"), "two").unwrap();
        symlink("../v1", dir.join("plugins/db.so")).unwrap();
    };
    let change = |dir: &Path| {
        symlink("../v2", dir.join("plugins/.new")).unwrap();
        fs::rename(dir.join("plugins/.new"), dir.join("plugins/db.so")).unwrap();
    };
    reports(prepare, change, &["db.so"]).await;
}

#[tokio::test]
async fn a_config_map_whose_data_link_is_swapped() {
    let prepare = |dir: &Path| {
        for version in ["..v1", "..v2"] {
            fs::create_dir(dir.join(version)).unwrap();
            fs::write(dir.join(version).join("topology.toml"), version).unwrap();
        }
        symlink("..v1", dir.join("..data")).unwrap();
        fs::remove_file(dir.join("topology.toml")).unwrap();
        symlink("..data/topology.toml", dir.join("topology.toml")).unwrap();
    };
    let change = |dir: &Path| {
        symlink("..v2", dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    reports(prepare, change, &["topology.toml"]).await;
}

/// The same with the plugins themselves in it, as a volume is mounted: all change with one link.
#[tokio::test]
async fn a_volume_of_plugins_whose_data_link_is_swapped() {
    let prepare = |dir: &Path| {
        let plugins = dir.join("plugins");
        for version in ["..v1", "..v2"] {
            fs::create_dir(plugins.join(version)).unwrap();
            for name in ["libdb.so", "librest.so"] {
                fs::write(plugins.join(version).join(name), version).unwrap();
            }
        }
        symlink("..v1", plugins.join("..data")).unwrap();
        for name in ["libdb.so", "librest.so"] {
            symlink(format!("..data/{name}"), plugins.join(name)).unwrap();
        }
    };
    let change = |dir: &Path| {
        let plugins = dir.join("plugins");
        symlink("..v2", plugins.join("..data_tmp")).unwrap();
        fs::rename(plugins.join("..data_tmp"), plugins.join("..data")).unwrap();
        fs::remove_dir_all(plugins.join("..v1")).unwrap();
    };
    reports(prepare, change, &["libdb.so", "librest.so"]).await;
}

/// As `ln -sfn` does it where it cannot rename: the old link goes, the new one comes.
#[tokio::test]
async fn a_link_that_is_removed_and_made_anew() {
    let prepare = |dir: &Path| {
        fs::write(dir.join("v1"), "one").unwrap();
        fs::write(dir.join("v2"), "two").unwrap();
        symlink("../v1", dir.join("plugins/db.so")).unwrap();
    };
    let change = |dir: &Path| {
        fs::remove_file(dir.join("plugins/db.so")).unwrap();
        symlink("../v2", dir.join("plugins/db.so")).unwrap();
    };
    reports(prepare, change, &["db.so"]).await;
}

/// As vim with `backupcopy=no` does it, and as others truncate and write.
#[tokio::test]
async fn a_file_that_an_editor_keeps_a_backup_of_or_writes_in_place() {
    let backup = |dir: &Path| {
        fs::rename(dir.join("topology.toml"), dir.join("topology.toml~")).unwrap();
        fs::write(dir.join("topology.toml"), "two").unwrap();
        fs::remove_file(dir.join("topology.toml~")).unwrap();
    };
    reports(|_| {}, backup, &["topology.toml"]).await;
    let in_place = |dir: &Path| {
        let mut file = File::create(dir.join("topology.toml")).unwrap();
        file.write_all(b"tw").unwrap();
        file.flush().unwrap();
        file.write_all(b"o").unwrap();
    };
    reports(|_| {}, in_place, &["topology.toml"]).await;
}

#[tokio::test]
async fn a_folder_on_the_way_that_is_a_swapped_link() {
    let prepare = |dir: &Path| {
        fs::remove_dir(dir.join("plugins")).unwrap();
        for version in ["v1", "v2"] {
            fs::create_dir(dir.join(version)).unwrap();
            fs::write(dir.join(version).join("db.so"), version).unwrap();
        }
        symlink("v1", dir.join("plugins")).unwrap();
    };
    let change = |dir: &Path| {
        symlink("v2", dir.join("new")).unwrap();
        fs::rename(dir.join("new"), dir.join("plugins")).unwrap();
    };
    reports(prepare, change, &["db.so"]).await;
}

#[tokio::test]
async fn a_folder_that_does_not_exist_yet() {
    let change = |dir: &Path| {
        fs::create_dir_all(dir.join("plugins")).unwrap();
        fs::write(dir.join("plugins/db.so"), "new").unwrap();
    };
    reports(|dir| fs::remove_dir(dir.join("plugins")).unwrap(), change, &["db.so"]).await;
}

#[tokio::test]
async fn a_folder_that_is_removed_and_made_anew_is_watched_again() {
    for settings in [by_events(), by_looking()] {
        let dir = dir();
        let plugins = dir.path().join("plugins");
        fs::write(plugins.join("db.so"), "one").unwrap();
        let mut watcher = Watcher::new(roots(dir.path()), settings);
        for round in 0..3 {
            fs::remove_dir_all(&plugins).unwrap();
            assert_eq!(changed(&mut watcher).await, ["db.so"], "removed in round {round}");
            fs::create_dir(&plugins).unwrap();
            fs::write(plugins.join("db.so"), "two").unwrap();
            assert_eq!(changed(&mut watcher).await, ["db.so"], "made anew in round {round}");
            fs::write(plugins.join("db.so"), "three").unwrap();
            assert_eq!(changed(&mut watcher).await, ["db.so"], "written in round {round}");
        }
    }
}

#[tokio::test]
async fn many_files_at_once_are_one_change() {
    let change = |dir: &Path| (0..200).for_each(|n| fs::write(dir.join(format!("plugins/p{n:03}.so")), "new").unwrap());
    let expected: Vec<String> = (0..200).map(|n| format!("p{n:03}.so")).collect();
    reports(|_| {}, change, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_file_that_is_being_written_waits_and_others_do_not_wait_for_it() {
    let dir = dir();
    let mut watcher = Watcher::new(roots(dir.path()), by_events());
    let slow = dir.path().join("plugins/slow.so");
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(0);
    let writer = std::thread::spawn(move || {
        let mut file = File::create(slow).unwrap();
        // Until the test ends it: that both are still so is what the test is about.
        while stopped.recv_timeout(Duration::from_millis(2)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            file.write_all(b"more").unwrap();
        }
    });
    fs::write(dir.path().join("plugins/fast.so"), "new").unwrap();
    assert_eq!(changed(&mut watcher).await, ["fast.so"]);
    let more = tokio::time::timeout(by_events().max_wait * 3, watcher.changed()).await;
    assert!(more.is_err(), "{more:?} is still being written");
    drop(stop);
    writer.join().unwrap();
    assert_eq!(changed(&mut watcher).await, ["slow.so"]);
}

#[tokio::test]
async fn what_concerns_nobody_is_not_reported() {
    for settings in [by_events(), by_looking()] {
        let dir = dir();
        let mut watcher = Watcher::new(roots(dir.path()), settings.clone());
        for noise in ["plugins/README.md", "plugins/.hidden.so", "plugins/db.so.tmp", "plugins/.so", "other.toml"] {
            fs::write(dir.path().join(noise), "noise").unwrap();
        }
        fs::read(dir.path().join("topology.toml")).unwrap();
        // Something that counts comes last: only it is reported.
        fs::write(dir.path().join("topology.toml"), "two").unwrap();
        assert_eq!(changed(&mut watcher).await, ["topology.toml"], "{:?}", settings.mode);
    }
}

#[tokio::test]
async fn other_roots_from_now_on() {
    let dir = dir();
    let mut watcher = Watcher::new(roots(dir.path()), by_events());
    fs::create_dir(dir.path().join("more")).unwrap();
    fs::write(dir.path().join("more/db.so"), "one").unwrap();
    let mut wider = roots(dir.path());
    wider.folders.insert(dir.path().join("more"));
    watcher.set_roots(wider);
    assert_eq!(changed(&mut watcher).await, ["db.so"]);
    fs::write(dir.path().join("more/db.so"), "two").unwrap();
    assert_eq!(changed(&mut watcher).await, ["db.so"]);
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let dir = dir();
    let mut watcher = Watcher::new(roots(dir.path()), by_events());
    fs::write(dir.path().join("topology.toml"), "two").unwrap();
    // Each wait is given up at its first await, among them the one that has taken the hint and looks.
    let begin = Instant::now();
    while begin.elapsed() < by_events().quiet * 3 {
        if let Some(paths) = watcher.changed().now_or_never() {
            // The look was faster than we.
            assert_eq!(paths.len(), 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(changed(&mut watcher).await, ["topology.toml"]);
}

fn scan(folder: &mut PluginFolder) -> Vec<(String, Result<Fingerprint, String>)> {
    let plugins = folder.scan().unwrap().into_iter();
    plugins
        .map(|(name, file)| (name.to_string(), file.map(|file| file.fingerprint).map_err(|error| error.to_string())))
        .collect()
}

#[test]
fn a_scan_names_the_plugins_and_each_problem() {
    let dir = dir();
    let plugins = dir.path().join("plugins");
    for file in ["libdb.so", "pilot.so", "libtwice.so", "twice.so", ".hidden.so", "db.so.tmp", "notes"] {
        fs::write(plugins.join(file), file).unwrap();
    }
    fs::create_dir(plugins.join("folder.so")).unwrap();
    symlink("nowhere", plugins.join("broken.so")).unwrap();
    let found = scan(&mut PluginFolder::new(&plugins));
    let shown: Vec<_> = found.iter().map(|(name, file)| (name.as_str(), file.is_ok())).collect();
    assert_eq!(shown, [("broken", false), ("db", true), ("folder", false), ("pilot", true), ("twice", false)]);
    let twice = found[4].1.clone().unwrap_err();
    assert!(twice.contains("libtwice.so") && twice.contains("remove one"), "{twice}");
    assert!(scan(&mut PluginFolder::new(plugins.join("missing"))).is_empty());
}

#[test]
fn a_fingerprint_is_of_the_content_alone() {
    let dir = dir();
    let plugins = dir.path().join("plugins");
    let file = plugins.join("db.so");
    let mut folder = PluginFolder::new(&plugins);
    let mut print = |content: &str| {
        fs::write(plugins.join(".new"), content).unwrap();
        fs::rename(plugins.join(".new"), &file).unwrap();
        folder.scan().unwrap().remove(&PluginName::new("db")).unwrap().unwrap().fingerprint
    };
    let one = print("one");
    let again = print("one");
    assert_ne!(one.stat, again.stat, "another file");
    assert_eq!(one, again, "the same content");
    assert_ne!(one, print("two"), "the same size");
}
