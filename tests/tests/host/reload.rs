//! Replacing plugins and topology while they serve, and everything that can be wrong with a file.

use std::collections::BTreeSet;

use mshost_tests::fixtures;
use mshost_tests::footprint::{Footprint, libraries};
use mshost_tests::growth_curve::Curve;
use mshost_tests::host_process::{HostProcess, LIMIT, plugin, running, workers};
use mshost_tests::http_request::get;
use mshost_tests::load::HttpLoad;
use mshost_tests::movie_example::{self, MovieTopology};
use mshost_tests::wait::{poll, until};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The pilot as built, with another version in the place that it keeps for one.
fn pilot_version(number: u32) -> Vec<u8> {
    mshost_tests::movie_example::pilot(&format!("v{number:07}"))
}

fn served_by(rest: std::net::SocketAddr) -> Option<String> {
    let answer = get(rest, "/movies/").ok()?;
    let line = answer
        .head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("x-served-by:").map(str::to_owned))?;
    Some(line.trim().to_owned())
}

fn until_served_by(host: &HostProcess, rest: std::net::SocketAddr, version: &str) {
    let mut last = None;
    poll(LIMIT, || {
        last = served_by(rest);
        last.as_ref().is_some_and(|by| by.contains(version)).then_some(())
    })
    .unwrap_or_else(|| panic!("{version} never served, last was {last:?}\n{}", host.log_text()));
}

#[test]
fn twenty_versions_and_twenty_topologies_under_load_without_one_failed_request() {
    let _turn = mshost_tests::heavy::turn();
    let (mut host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let load = runtime.block_on(async { HttpLoad::new(rest, "/movies/", 200).start() });
    let versions: BTreeSet<_> = (1..=20).map(|number| format!("v{number:07}")).collect();
    for number in 1..=20_u32 {
        host.site.plugin_bytes("libpilot.so", &pilot_version(number));
        until_served_by(&host, rest, &format!("v{number:07}"));
        let pilots = 1 + number as usize % 3;
        let pilot_lines = format!("timeout = \"{number}s\"");
        host.site.topology(&MovieTopology { pilots, pilot_lines, ..MovieTopology::default() }.text());
        host.until_running("WD", pilots);
    }
    let report = runtime.block_on(load.stop());
    assert_eq!(report.failure_count, 0, "{report}\n{}", host.log_text());
    assert!(report.successes > 1_000, "{report}");
    let unseen: Vec<_> = versions.difference(&report.served_by).collect();
    assert!(unseen.is_empty(), "never served under load: {unseen:?}");
    assert!(host.stop().success(), "{}", host.log_text());
}

#[test]
fn a_bad_new_version_leaves_the_old_one_serving_and_a_good_one_heals() {
    let (host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    host.site.plugin_bytes("libpilot.so", &pilot_version(1));
    until_served_by(&host, rest, "v0000001");
    let whole = pilot_version(2);
    host.site.plugin_bytes("libpilot.so", &whole[..whole.len() / 2]);
    host.until_topology("the pilot's error", |t| plugin(t, "pilot")?["last_error"]["message"].as_str().map(drop));
    assert!(served_by(rest).unwrap().contains("v0000001"));
    assert_eq!(host.ask("/readyz").status, 200);
    host.site.plugin_bytes("libpilot.so", &whole);
    until_served_by(&host, rest, "v0000002");
    host.until_topology("no error", |t| plugin(t, "pilot")?["last_error"].is_null().then_some(()));
}

#[test]
fn a_version_that_panics_in_start_is_reported_and_the_old_one_goes_on() {
    let echo = |start: &str| {
        let worker = "[[worker]]\ntype = \"EC\"\nplugin = \"mshost_fixture_echo\"\n[worker.config]\nstart =";
        format!("{}\n{worker} \"{start}\"\n", MovieTopology::default().text())
    };
    let (host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    host.site.plugin(&fixtures::fixture("echo"));
    host.site.topology(&echo("well"));
    host.until_running("EC", 1);
    let id = |host: &HostProcess| workers(&host.topology(), "EC").next().unwrap()["id"].clone();
    let before = id(&host);
    host.site.topology(&echo("panic"));
    host.until_log(&["EC[0]", "the old one goes on", "panic"]);
    assert_eq!((running(&host.topology(), "EC"), id(&host)), (1, before));
    assert_eq!(host.ask("/readyz").status, 200);
    assert_eq!(get(rest, "/movies/").unwrap().status, 200);
}

#[test]
fn a_version_without_the_worker_that_the_topology_wants_is_reported_and_the_old_one_goes_on() {
    let (host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    host.site.plugin_bytes("libpilot.so", &std::fs::read(fixtures::fixture("echo")).unwrap());
    host.until_log(&["topology.toml:", "the plugin `pilot` has no worker of type `WD`"]);
    assert_eq!(get(rest, "/movies/").unwrap().status, 200);
    host.site.plugin_bytes("libpilot.so", &pilot_version(1));
    until_served_by(&host, rest, "v0000001");
}

#[test]
fn a_plugin_is_dropped_in_removed_and_renamed() {
    let (host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    let file = host.site.path().join("plugins/libpilot.so");
    let away = host.site.path().join("libpilot.so.away");
    std::fs::rename(&file, &away).unwrap();
    host.until_log(&["pilot", "the file is gone"]);
    assert_eq!(get(rest, "/movies/").unwrap().status, 200, "its workers keep running");
    std::fs::rename(&away, &file).unwrap();
    host.until_topology("the pilot's file", |t| plugin(t, "pilot")?["file"].is_string().then_some(()));
    until_ok(&host, rest);
}

#[test]
fn a_plugin_that_comes_later_is_pending_until_then() {
    let site = mshost_tests::host_process::HostSite::new();
    for name in ["rest", "db"] {
        site.plugin(&fixtures::example(name));
    }
    site.topology(&MovieTopology::default().text());
    let host = HostProcess::start(site, &[]);
    host.until_topology("a pending pilot", |t| {
        workers(t, "WD").any(|worker| worker["state"] == "pending").then_some(())
    });
    host.site.plugin(&fixtures::example("pilot"));
    host.until_running("WD", 1);
    until_ok(&host, host.http("WA"));
}

fn until_ok(host: &HostProcess, rest: std::net::SocketAddr) {
    poll(LIMIT, || (get(rest, "/movies/").ok()?.status == 200).then_some(()))
        .unwrap_or_else(|| panic!("never served\n{}", host.log_text()));
}

#[test]
fn a_broken_topology_changes_nothing_and_a_mended_one_is_applied() {
    let (host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    let before = host.topology()["workers"].clone();
    let broken = MovieTopology::default().text().replace("plugin = \"pilot\"", "plugin = ");
    let line = 1 + broken.lines().position(|line| line == "plugin = ").unwrap();
    host.site.topology(&broken);
    host.until_log(&[&format!("topology.toml:{line}:")]);
    assert_eq!(ids(&host.topology()["workers"]), ids(&before));
    assert_eq!(get(rest, "/movies/").unwrap().status, 200);
    host.site.topology(&MovieTopology { pilots: 2, ..MovieTopology::default() }.text());
    host.until_running("WD", 2);
    host.until_topology("no error", |t| t["topology"]["last_error"].is_null().then_some(()));
}

#[test]
fn an_empty_topology_stops_nothing() {
    let (host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    host.site.topology("");
    host.until_log(&["topology.toml", "the file is empty"]);
    assert_eq!(get(rest, "/movies/").unwrap().status, 200);
    host.site.topology(&MovieTopology::default().text());
    host.until_log(&["topology mended"]);
    assert_eq!(host.ask("/readyz").status, 200);
}

fn ids(workers: &Value) -> Vec<&str> {
    workers.as_array().unwrap().iter().filter_map(|worker| worker["id"].as_str()).collect()
}

#[test]
fn sighup_and_the_admin_server_reload_too() {
    let (mut host, _) = movie_example::serve(&MovieTopology::default(), &[]);
    let reads = |host: &HostProcess| count(&host.ask("/metrics").body, r#"mshost_reloads_total{kind="topology","#);
    let before = reads(&host);
    host.signal(Signal::SIGHUP);
    until("a reload by SIGHUP", LIMIT, || (reads(&host) > before).then_some(()));
    let before = reads(&host);
    let answer = mshost_tests::http_request::post(host.admin(), "/api/reload", "").unwrap();
    assert!(answer.status < 300, "{answer:?}");
    until("a reload by POST", LIMIT, || (reads(&host) > before).then_some(()));
    host.signal(Signal::SIGINT);
    assert!(host.until_ended().success());
}

fn count(metrics: &str, start: &str) -> u64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(start))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// The short form of `make soak`.
#[test]
fn three_hundred_reloads_leave_nothing_behind() {
    const EACH: u32 = 20;
    let (host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    let mut curve = Curve::default();
    for number in 1..=300_u32 {
        host.site.plugin_bytes("libpilot.so", &pilot_version(number));
        until_served_by(&host, rest, &format!("v{number:07}"));
        if number.is_multiple_of(EACH) {
            until("old versions to leave", LIMIT, || (libraries(host.pid(), "").ok()? == 3).then_some(()));
            curve.push(u64::from(number), Footprint::of(host.pid()).unwrap());
        }
    }
    println!("{curve}");
    assert_eq!(curve.complaints(), Vec::<String>::new(), "{curve}");
    let metrics = host.ask("/metrics").body;
    assert!(metrics.contains("mshost_still_mapped_total 0"), "{metrics}");
}
