//! Files that change in every way that people and their tools change them, seen by the real host.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, plugin, running};
use mshost_tests::http_request::post;
use mshost_tests::wait::until;
use serde_json::Value;

/// A host whose one plugin and topology are links into a volume: `..data` leads to the version that counts.
fn mounted(host_lines: &str) -> HostSite {
    let site = HostSite::new();
    fs::remove_dir(site.path().join("plugins")).unwrap();
    let volume = site.path().join("volume");
    write_version(&volume, "..v1", host_lines, 1);
    symlink("..v1", volume.join("..data")).unwrap();
    symlink("..data/topology.toml", volume.join("topology.toml")).unwrap();
    symlink("volume/topology.toml", site.path().join("topology.toml")).unwrap();
    fs::create_dir(site.path().join("plugins")).unwrap();
    symlink("../volume/..data/libecho.so", site.path().join("plugins/libecho.so")).unwrap();
    site
}

fn write_version(volume: &Path, version: &str, host_lines: &str, workers: usize) {
    let folder = volume.join(version);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("topology.toml"), topology(host_lines, workers)).unwrap();
    let mut library = fs::read(fixtures::fixture("echo")).unwrap();
    // What follows the library is of no meaning to the loader, and makes another file of it.
    library.extend(version.as_bytes());
    fs::write(folder.join("libecho.so"), library).unwrap();
}

fn topology(host_lines: &str, workers: usize) -> String {
    format!(
        "[host]\nadmin = \"127.0.0.1:0\"\ndebounce = \"50ms\"\n{host_lines}\n[[worker]]\ntype = \"EC\"\nplugin = \"echo\"\n\
         instances = {workers}\n"
    )
}

fn generation(topology: &Value) -> Option<u64> {
    plugin(topology, "echo")?["generation"].as_u64()
}

#[test]
fn a_volume_that_is_swapped_as_kubernetes_does_it_changes_topology_and_plugin() {
    for host_lines in ["", "watch = \"poll\""] {
        let mut host = HostProcess::start(mounted(host_lines), &[]);
        host.until_running("EC", 1);
        let before = generation(&host.topology()).unwrap();
        let volume = host.site.path().join("volume");
        write_version(&volume, "..v2", host_lines, 2);
        symlink("..v2", volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        fs::remove_dir_all(volume.join("..v1")).unwrap();
        host.until_topology("another version of the plugin", |topology| {
            (running(topology, "EC") == 2 && generation(topology)? > before).then_some(())
        });
        if !host_lines.is_empty() {
            assert_eq!(inotify(host.pid()), 0, "it looks, and asks the kernel for no events");
        }
        assert!(host.stop().success(), "{}", host.log_text());
    }
}

/// How many inotify descriptors a process has.
fn inotify(pid: u32) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = links.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().contains("inotify")).count()
}

#[test]
fn a_link_that_ln_swaps_is_followed() {
    let site = HostSite::new();
    let library = fs::read(fixtures::fixture("echo")).unwrap();
    for version in ["v1", "v2", "v3"] {
        let mut library = library.clone();
        library.extend(version.as_bytes());
        fs::write(site.path().join(version), library).unwrap();
    }
    symlink("../v1", site.path().join("plugins/libecho.so")).unwrap();
    site.topology(&topology("", 1));
    let host = HostProcess::start(site, &[]);
    host.until_running("EC", 1);
    for version in ["v2", "v3"] {
        let before = generation(&host.topology()).unwrap();
        let mut ln = std::process::Command::new("ln");
        ln.args(["-sfn", &format!("../{version}"), "plugins/libecho.so"]).current_dir(host.site.path());
        assert!(ln.status().unwrap().success());
        host.until_topology(version, |topology| (generation(topology)? > before).then_some(()));
    }
}

/// A deploy: fifty plugins come within a second, as one change.
#[test]
fn fifty_plugins_at_once_are_loaded_side_by_side_and_reconciled_once() {
    const PLUGINS: usize = 50;
    let site = HostSite::new();
    let name = |number: usize| format!("echo{number:02}");
    let mut text = "[host]\nadmin = \"127.0.0.1:0\"\nparallel_loads = 8\n".to_owned();
    for number in 0..PLUGINS {
        text += &format!("[[worker]]\ntype = \"EC\"\nplugin = \"{}\"\n", name(number));
    }
    site.topology(&text);
    let library = site.path().join("library");
    fs::copy(fixtures::fixture("echo"), &library).unwrap();
    let mut host = HostProcess::start(site, &[]);
    host.until_log(&["topology applied", "revision=1"]);
    for number in 0..PLUGINS {
        fs::hard_link(&library, host.site.path().join(format!("plugins/lib{}.so", name(number)))).unwrap();
    }
    until("all of them to run", LIMIT * 2, || (running(&host.topology(), "EC") == PLUGINS).then_some(()));
    assert_eq!(host.topology()["topology"]["revision"], 2, "{}", host.log_text());
    let applied = host.log().iter().filter(|line| line.contains("topology applied")).count();
    assert_eq!(applied, 2, "{}", host.log_text());
    let metrics = host.ask("/metrics").body;
    assert!(metrics.contains("mshost_plugin_load_seconds_count 50"), "{metrics}");
    let report = post(host.admin(), "/api/reload?dry_run=1", "").unwrap().json();
    assert_eq!((&report["changes"], &report["plugins"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert!(host.stop().success(), "{}", host.log_text());
}
