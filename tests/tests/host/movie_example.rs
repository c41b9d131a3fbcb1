//! The movie example, as a newcomer uses it.

use std::time::{Duration, Instant};

use mshost_tests::broker::Broker;
use mshost_tests::host_process::{HostProcess, LIMIT};
use mshost_tests::http_request::{get, post};
use mshost_tests::movie_example::{self, MovieTopology};
use mshost_tests::wait::until;

fn answers_everything_as_documented(topology: &MovieTopology) {
    let (mut host, rest) = movie_example::serve(topology, &[]);
    let all = get(rest, "/movies/").unwrap();
    assert_eq!(all.status, 200, "{}\n{}", all.body, host.log_text());

    let made = post(rest, "/movies/", r#"{"title": "Stalker", "year": 1979}"#).unwrap();
    assert_eq!(made.status, 201, "{}\n{}", made.body, host.log_text());
    let id = made.json()["id"].as_i64().unwrap_or_else(|| panic!("no id in {}", made.body));
    let one = get(rest, &format!("/movies/{id}")).unwrap();
    assert_eq!((one.status, one.json()["title"].as_str()), (200, Some("Stalker")), "{}", one.body);

    for (path, status) in [("/movies/999999", 404), ("/nothing/", 404)] {
        let answer = get(rest, path).unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.json()["error"].is_string(), "{path}: {}", answer.body);
    }
    for body in ["this is not JSON", "{\"title\": ", "[]", "{}"] {
        let answer = post(rest, "/movies/", body).unwrap();
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert!(answer.json()["error"].is_string(), "{body}: {}", answer.body);
    }
    let answer = post(rest, "/movies/", &format!("{{\"title\": \"{}\"}}", "x".repeat(80 << 10))).unwrap();
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert!(host.stop().success(), "{}", host.log_text());
}

#[test]
fn on_the_embedded_bus_in_msgpack() {
    answers_everything_as_documented(&MovieTopology::default());
}

#[test]
fn on_the_embedded_bus_in_json() {
    answers_everything_as_documented(&MovieTopology { codec: "JSON", ..MovieTopology::default() });
}

#[test]
fn on_the_embedded_bus_in_bson() {
    answers_everything_as_documented(&MovieTopology { codec: "BSON", ..MovieTopology::default() });
}

fn through_rabbitmq(codec: &'static str) {
    let bus = Broker::shared().url();
    answers_everything_as_documented(&MovieTopology { bus, codec, ..MovieTopology::default() });
}

#[test]
fn on_rabbitmq_in_msgpack() {
    through_rabbitmq("msgpack");
}

#[test]
fn on_rabbitmq_in_json() {
    through_rabbitmq("JSON");
}

#[test]
fn on_rabbitmq_in_bson() {
    through_rabbitmq("BSON");
}

#[test]
fn broker_url_in_the_environment_moves_it_to_rabbitmq() {
    let broker = Broker::start();
    let (mut host, rest) = movie_example::serve(&MovieTopology::default(), &[("BROKER_URL", &broker.url())]);
    assert_eq!(get(rest, "/movies/").unwrap().status, 200, "{}", host.log_text());
    let queues = broker.ctl(["list_queues", "--quiet", "name"]);
    assert!(queues.contains("mshost.job.WB"), "{queues}");
    assert!(host.stop().success());
}

fn no_pilot_is_an_answer_at_once_and_its_return_mends_it(topology: MovieTopology) {
    let (host, rest) = movie_example::serve(&topology, &[]);
    host.site.topology(&MovieTopology { pilot: false, ..topology.clone() }.text());
    until_status(&host, rest, 500);
    let began = Instant::now();
    let answer = get(rest, "/movies/").unwrap();
    let took = began.elapsed();
    assert_eq!(answer.json()["error"], "no worker available for WD:*", "{}", answer.body);
    assert!(took < Duration::from_secs(2), "{took:?}: it must not wait for a timeout");
    host.site.topology(&topology.text());
    until_status(&host, rest, 200);
}

fn until_status(host: &HostProcess, rest: std::net::SocketAddr, status: u16) {
    let mut last = None;
    let found = mshost_tests::wait::poll(LIMIT, || {
        last = get(rest, "/movies/").ok();
        last.as_ref().is_some_and(|answer| answer.status == status).then_some(())
    });
    assert!(found.is_some(), "waited in vain for {status}: {last:?}\n{}", host.log_text());
}

#[test]
fn without_a_pilot_on_the_embedded_bus() {
    no_pilot_is_an_answer_at_once_and_its_return_mends_it(MovieTopology::default());
}

#[test]
fn without_a_pilot_on_rabbitmq() {
    let broker = Broker::start();
    no_pilot_is_an_answer_at_once_and_its_return_mends_it(MovieTopology {
        bus: broker.url(),
        ..MovieTopology::default()
    });
}

#[test]
fn movies_survive_a_restart_of_the_host() {
    let (mut host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
    let id = post(rest, "/movies/", r#"{"title": "Solaris"}"#).unwrap().json()["id"].as_i64().unwrap();
    assert!(host.stop().success());
    let site = std::mem::take(&mut host.site);
    let host = HostProcess::start(site, &[]);
    host.until_running("WD", 1);
    host.until_running("WB", 1);
    let one = get(host.http("WA"), &format!("/movies/{id}")).unwrap();
    assert_eq!(one.json()["title"], "Solaris", "{}\n{}", one.body, host.log_text());
}

#[test]
fn a_broker_that_is_killed_and_comes_back_is_found_again() {
    let mut broker = Broker::start();
    let (mut host, rest) = movie_example::serve(&MovieTopology { bus: broker.url(), ..MovieTopology::default() }, &[]);
    let pid = host.pid();
    for _ in 0..2 {
        broker.kill();
        until("readyz to say that the bus is away", LIMIT, || (host.ask("/readyz").status == 503).then_some(()));
        broker.restart();
        until_status(&host, rest, 200);
    }
    assert_eq!(host.pid(), pid);
    until("all workers to be known again", LIMIT, || {
        host.ask("/metrics").body.contains("microservices_connected_workers 3").then_some(())
    });
    assert!(host.stop().success(), "{}", host.log_text());
}
