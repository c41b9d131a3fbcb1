//! `[bus]` changes while everything runs: workers move to another bus, and nothing is lost.

use std::net::SocketAddr;
use std::time::Duration;

use mshost_tests::broker::Broker;
use mshost_tests::history::scenario::{HostPlacement, PipelineSetup, Scenario};
use mshost_tests::host_process::{HostProcess, LIMIT, workers};
use mshost_tests::http_request::{get, post};
use mshost_tests::load::HttpLoad;
use mshost_tests::movie_example::{self, MovieTopology};
use mshost_tests::wait::{poll, until};
use serde_json::{Value, json};

fn movies(bus: &str) -> MovieTopology {
    MovieTopology { bus: bus.to_owned(), ..MovieTopology::default() }
}

/// Writes the topology, and waits until everybody is on its bus and the old one is closed.
fn move_to(host: &HostProcess, topology: &MovieTopology) {
    host.site.topology(&topology.text());
    until_moved(host, &topology.bus);
}

fn until_moved(host: &HostProcess, bus: &str) {
    // The URL is shown without its password.
    let place = bus.rsplit('@').next().unwrap();
    host.until_topology(&format!("everybody on {bus}"), |topology| {
        let moved = topology["bus"]["url"].as_str()?.ends_with(place) && topology["bus"]["leaving"] == json!([]);
        moved.then_some(())
    });
}

fn until_ok(host: &HostProcess, rest: SocketAddr) {
    poll(LIMIT, || (get(rest, "/movies/").ok()?.status == 200).then_some(()))
        .unwrap_or_else(|| panic!("never served\n{}", host.log_text()));
}

#[test]
fn from_embedded_to_rabbitmq_and_back_under_load_without_one_failed_request() {
    let _turn = mshost_tests::heavy::turn();
    let broker = Broker::start();
    // One of them in a process of its own.
    let movies = |bus: &str| MovieTopology { pilot_lines: "isolation = \"process\"".to_owned(), ..movies(bus) };
    let (mut host, rest) = movie_example::serve(&movies("embedded"), &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let load = runtime.block_on(async { HttpLoad::new(rest, "/movies/", 50).start() });
    let more = |load: &mshost_tests::load::RunningLoad, count: u64| {
        let before = load.successes();
        until("requests on this bus", LIMIT, || (load.successes() >= before + count).then_some(()));
    };
    more(&load, 50);
    move_to(&host, &movies(&broker.url()));
    more(&load, 200);
    let queues = broker.ctl(["list_queues", "--quiet", "name", "consumers"]);
    assert!(queues.contains("mshost.job.WB\t1"), "{queues}");
    move_to(&host, &movies("embedded"));
    more(&load, 200);
    let report = runtime.block_on(load.stop());
    assert_eq!(report.failure_count, 0, "{report}\n{}", host.log_text());
    let queues = broker.ctl(["list_queues", "--quiet", "name", "consumers", "messages"]);
    let left: Vec<_> =
        queues.lines().filter(|line| line.contains("mshost.job.") || line.contains("mshost.id.")).collect();
    assert!(left.is_empty(), "left behind on the broker: {left:?}");
    let metrics = host.ask("/metrics").body;
    assert!(metrics.contains("mshost_bus_moves_total{outcome=\"moved\"} 2"), "{metrics}");
    // The gauges are those of the manager of this bus.
    for line in
        ["microservices_workers_total{type=\"WB\"} 1", "microservices_connected_workers 3", "mshost_manager_active 1"]
    {
        until(line, LIMIT, || host.ask("/metrics").body.lines().any(|found| found == line).then_some(()));
    }
    assert!(host.stop().success(), "{}", host.log_text());
}

#[test]
fn a_bus_that_cannot_be_used_leaves_the_old_one_and_is_moved_to_once_it_can() {
    let mut broker = Broker::start();
    let (mut host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    let ids = |host: &HostProcess| {
        let topology = host.topology();
        ["WA", "WB", "WD"].map(|kind| workers(&topology, kind).next().unwrap()["id"].clone())
    };
    let before = ids(&host);
    broker.kill();
    let newer = movies(&broker.url());
    let planned = post(host.admin(), "/api/reload?dry_run=1", &newer.text()).unwrap().json();
    assert_eq!(planned["settings"], json!([{"setting": "[bus] url", "takes_effect": "now"}]), "{planned:#}");
    let bus = &planned["bus"];
    assert_eq!((&bus["from"], bus["waiting"].as_str().unwrap().contains("carried over")), (&json!("embedded"), true));
    assert_eq!(planned["changes"][0]["reasons"], json!(["bus"]), "{planned:#}");
    assert_eq!(planned["changes"].as_array().unwrap().len(), 3, "{planned:#}");
    host.site.topology(&newer.text());
    host.until_topology("an error", |topology| {
        topology["topology"]["last_error"]["message"].as_str()?.contains("everything stays on embedded").then_some(())
    });
    host.until_log(&["topology.toml:6:7: error: the new bus amqp://", "cannot be used yet"]);
    assert!(host.ask("/metrics").body.contains("mshost_bus_moves_total{outcome=\"failed\"}"));
    assert_eq!((host.topology()["bus"]["url"].as_str(), ids(&host)), (Some("embedded"), before));
    assert_eq!((host.ask("/readyz").status, get(rest, "/movies/").unwrap().status), (200, 200));
    assert!(!host.log_text().contains("guest:guest"), "a password in the log");

    broker.restart();
    until_moved(&host, &newer.bus);
    host.until_topology("no error", |topology| topology["topology"]["last_error"].is_null().then_some(()));
    until_ok(&host, rest);
    // A topology that is taken back before its bus could be used changes nothing.
    host.site.topology(&movies("amqp://guest:guest@127.0.0.1:1").text());
    host.until_topology("an error", |topology| topology["topology"]["last_error"]["message"].as_str().map(drop));
    host.site.topology(&newer.text());
    host.until_topology("no error", |topology| topology["topology"]["last_error"].is_null().then_some(()));
    until_ok(&host, rest);
    assert!(host.stop().success(), "{}", host.log_text());
}

#[test]
fn other_settings_of_the_bus_need_no_restart_either_but_for_those_that_both_would_share() {
    let (mut host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    let text =
        MovieTopology::default().text().replace("[bus]", "[bus]\nmax_message = \"2KiB\"\njournal = \"state/journal\"");
    host.site.topology(&text);
    host.until_log(&["the old bus is left and closed"]);
    until_ok(&host, rest);
    assert!(host.site.path().join("state/journal").is_dir());
    let large = format!("{{\"title\": \"{}\"}}", "x".repeat(4 << 10));
    assert!(post(rest, "/movies/", &large).unwrap().status >= 500, "beyond the new limit");
    for (other, setting) in
        [(text.replace("2KiB", "3KiB"), "a limit of [bus]"), (text.replace("msgpack", "JSON"), "[bus] codec")]
    {
        let report = post(host.admin(), "/api/reload?dry_run=1", &other).unwrap().json();
        assert_eq!(report["settings"], json!([{"setting": setting, "takes_effect": "restart"}]), "{report:#}");
        assert_eq!((&report["changes"], &report["bus"]), (&json!([]), &Value::Null), "{report:#}");
    }
    assert!(host.stop().success(), "{}", host.log_text());
}

#[test]
fn a_worker_that_does_not_start_on_the_new_bus_keeps_the_old_one_and_all_may_move_back() {
    let broker = Broker::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    // The edge cannot have a second address that is taken: it stays where it is, and still reaches the others.
    let broken = movies(&broker.url()).text().replace(
        "listen = { http = \"127.0.0.1:0\" }",
        &format!("listen = {{ http = \"127.0.0.1:0\", other = \"{}\" }}", taken.local_addr().unwrap()),
    );
    let is_stuck = |host: &HostProcess| {
        host.until_topology("a bus that is being left by all but the edge", |topology| {
            let leaving = &topology["bus"]["leaving"][0];
            (leaving["url"] == "embedded" && leaving["staying"] == 1).then_some(())
        });
        until_ok(host, rest);
    };
    host.site.topology(&broken);
    host.until_log(&["WA[0]", "the old one goes on"]);
    is_stuck(&host);
    move_to(&host, &MovieTopology::default());
    until_ok(&host, rest);
    // Once more, and now it can have the address.
    host.site.topology(&broken);
    is_stuck(&host);
    drop(taken);
    host.site.topology(&broken.replace("[bus]", "shutdown_timeout = \"29s\"\n[bus]").replace("512", "511"));
    until_moved(&host, &broker.url());
    until_ok(&host, rest);
    assert!(host.stop().success(), "{}", host.log_text());
}

#[test]
fn a_broker_that_is_gone_can_be_left() {
    let mut broker = Broker::start();
    let (mut host, rest) = movie_example::serve(&movies(&broker.url()), &[]);
    until_ok(&host, rest);
    broker.kill();
    move_to(&host, &MovieTopology::default());
    until_ok(&host, rest);
    assert!(host.stop().success(), "{}", host.log_text());
}

/// Many attempts fail, so that jobs wait for their next one while the workers leave.
fn much_to_carry() -> PipelineSetup {
    PipelineSetup {
        pipelines: 600,
        failures: 500,
        max_attempts: 60,
        retry_delay: Duration::from_millis(700),
        ..PipelineSetup::default()
    }
}

#[test]
fn nothing_that_a_bus_has_accepted_is_lost_or_done_twice_in_silence_and_dead_letters_come_along() {
    let broker = Broker::start();
    let setup = PipelineSetup { retry_delay: Duration::from_secs(8), max_attempts: 2, ..much_to_carry() };
    let mut scenario = Scenario::start(&setup, &HostPlacement::single("embedded"));
    scenario.until_accepted(setup.pipelines).unwrap_or_else(|verdict| panic!("{verdict}\n{}", scenario.logs()));
    scenario.hosts[0]
        .until_topology("dead letters", |topology| (topology["bus"]["dead_letters"].as_u64()? > 10).then_some(()));
    scenario.move_bus(&broker.url());
    let carried = scenario.hosts[0].until_log(&["carried over to the new bus"]);
    assert!(
        !carried.contains("jobs=0 ") && !carried.contains("dead_letters=0"),
        "nothing had to be carried: {carried}"
    );
    let verdict = scenario.finish();
    println!("{verdict}");
    verdict.assert_flawless();
    assert_eq!(
        (verdict.accepted, verdict.executed + verdict.dead_letters),
        (setup.pipelines, setup.pipelines),
        "{verdict}"
    );
}

#[test]
fn a_host_that_is_killed_while_it_moves_carries_over_the_rest_when_it_is_started_again() {
    let broker = Broker::start();
    let setup = PipelineSetup { bus_lines: "journal = \"journal\"".to_owned(), ..much_to_carry() };
    let mut scenario = Scenario::start(&setup, &HostPlacement::single("embedded"));
    scenario.until_accepted(setup.pipelines).unwrap_or_else(|verdict| panic!("{verdict}\n{}", scenario.logs()));
    scenario.name_bus(&broker.url());
    scenario.hosts[0].until_topology("a bus that is being left", |topology| {
        (topology["bus"]["leaving"][0]["url"] == "embedded").then_some(())
    });
    scenario.restart_host(0);
    let carried = scenario.hosts[0].until_log(&["carried over to the new bus"]);
    assert!(!carried.contains("jobs=0 "), "nothing had to be carried: {carried}");
    let verdict = scenario.finish();
    println!("{verdict}");
    verdict.assert_flawless();
}
