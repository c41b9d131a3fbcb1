//! Several hosts on one broker: one manager acts for all of them, and the dead are gone for all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_bus::{Absent, Bus, BusLimits, Codec, Durability, Event, Job, Notification, Payload, Route};
use mshost_bus_amqp::{AmqpBus, AmqpOptions};
use mshost_core::ids::{JobId, WorkerId, WorkerRef};
use mshost_core::metrics::Metrics;
use mshost_tests::broker::Broker;
use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, workers};
use mshost_tests::wait::until;
use mshost_topology::BusTls;
use nix::sys::signal::Signal;

/// How long it may take until another manager is active; a stopped host is noticed after two heartbeats.
const TAKEOVER: Duration = Duration::from_secs(10);

/// A virtual host of this name; a connection that answers nothing is given up soon.
fn bus(name: &str) -> String {
    format!("{}?heartbeat=2", Broker::shared().url_of(name))
}

/// A host of this name with one worker, which runs.
fn host(url: &str, name: &str, manager: bool) -> HostProcess {
    let site = HostSite::new();
    site.plugin(&fixtures::fixture("echo"));
    site.topology(&format!(
        r#"
[host]
name = "{name}"
admin = "127.0.0.1:0"
[bus]
url = "{url}"
[manager]
enabled = {manager}
keepalive = "500ms"
expire_after = "3s"
[[worker]]
type = "EC"
plugin = "mshost_fixture_echo"
"#
    ));
    let host = HostProcess::start(site, &[]);
    host.until_running("EC", 1);
    host
}

/// Three hosts that all know each other's workers.
fn three(url: &str) -> Vec<HostProcess> {
    let hosts: Vec<_> = ["one", "two", "three"].into_iter().map(|name| host(url, name, true)).collect();
    until_known(&hosts, 3);
    hosts
}

fn manager(host: &HostProcess) -> String {
    host.topology()["bus"]["manager"].as_str().unwrap().to_owned()
}

/// Waits until one host is active and the others stand by; which it is.
fn until_one_is_active(hosts: &[HostProcess]) -> usize {
    let mut last = Vec::new();
    let found = mshost_tests::wait::poll(LIMIT, || {
        last = hosts.iter().map(manager).collect();
        let standing_by = last.iter().filter(|manager| *manager == "standing_by").count();
        let active = last.iter().position(|manager| manager == "active")?;
        (standing_by + 1 == hosts.len()).then_some(active)
    });
    let logs = || hosts.iter().map(HostProcess::log_text).collect::<Vec<_>>().join("\n\n");
    found.unwrap_or_else(|| panic!("not one active manager: {last:?}\n{}", logs()))
}

/// Waits until every host knows this many workers.
fn until_known(hosts: &[HostProcess], count: u64) {
    for host in hosts {
        host.until_topology(&format!("{count} known workers"), |topology| {
            (topology["bus"]["workers"]["EC"].as_u64() == Some(count)).then_some(())
        });
    }
}

fn own(host: &HostProcess) -> WorkerRef {
    let topology = host.topology();
    let id = workers(&topology, "EC").next().unwrap()["id"].as_str().unwrap().to_owned();
    WorkerId::new(&id).unwrap().into()
}

#[test]
fn another_takes_over_when_the_active_one_is_killed_and_its_workers_are_gone_everywhere() {
    let mut hosts = three(&bus("killed"));
    let mut dead = hosts.remove(until_one_is_active(&hosts));
    assert!(dead.ask("/metrics").body.contains("\nmshost_manager_active 1\n"));
    dead.kill();
    let began = Instant::now();
    let active = until_one_is_active(&hosts);
    assert!(began.elapsed() < TAKEOVER, "{:?}", began.elapsed());
    hosts[active].until_log(&["active: asks who is there"]);
    until_known(&hosts, 2);
    for (number, host) in hosts.iter().enumerate() {
        let line = format!("\nmshost_manager_active {}\n", u8::from(number == active));
        assert!(host.ask("/metrics").body.contains(&line), "{}", host.log_text());
    }
    // The one that comes back takes nothing away from the one that took over.
    dead.restart(&[]);
    hosts.push(dead);
    until_known(&hosts, 3);
    assert_eq!(until_one_is_active(&hosts), active);
}

#[test]
fn a_host_that_goes_in_good_order_hands_over_and_is_missed_by_nobody() {
    let mut hosts = three(&bus("ended"));
    let mut ended = hosts.remove(until_one_is_active(&hosts));
    assert!(ended.stop().success(), "{}", ended.log_text());
    let began = Instant::now();
    until_one_is_active(&hosts);
    assert!(began.elapsed() < TAKEOVER, "{:?}", began.elapsed());
    until_known(&hosts, 2);
    for host in &hosts {
        assert!(!host.log_text().contains("taken for dead"), "{}", host.log_text());
    }
}

#[test]
fn a_host_that_stands_still_loses_the_lead_and_its_workers_and_gets_the_workers_back() {
    let mut hosts = three(&bus("stopped"));
    let stopped = hosts.remove(until_one_is_active(&hosts));
    let before = own(&stopped);
    stopped.signal(Signal::SIGSTOP);
    let began = Instant::now();
    until_one_is_active(&hosts);
    assert!(began.elapsed() < TAKEOVER, "{:?}", began.elapsed());
    until_known(&hosts, 2);
    stopped.signal(Signal::SIGCONT);
    hosts.push(stopped);
    until_known(&hosts, 3);
    until_one_is_active(&hosts);
    assert_eq!(own(&hosts[2]), before, "nobody has started it again");
}

#[test]
fn there_is_one_again_after_a_restart_of_the_broker() {
    let mut broker = Broker::start();
    let hosts = three(&broker.url());
    until_one_is_active(&hosts);
    for _ in 0..2 {
        broker.kill();
        until("nobody to be active", LIMIT, || hosts.iter().all(|host| manager(host) == "standing_by").then_some(()));
        broker.restart();
        until_one_is_active(&hosts);
        until_known(&hosts, 3);
    }
}

#[test]
fn an_operator_who_deletes_or_empties_the_queue_starts_an_election() {
    let vhost = "deleted";
    let hosts = three(&bus(vhost));
    let broker = Broker::shared();
    until_one_is_active(&hosts);
    let elections = |hosts: &[HostProcess]| hosts.iter().map(|host| count(host, "standing by")).sum::<usize>();
    for _ in 0..2 {
        let before = elections(&hosts);
        broker.ctl(["delete_queue", "-p", vhost, "mshost.manager"]);
        until("the active one to notice", LIMIT, || (elections(&hosts) > before).then_some(()));
        until_one_is_active(&hosts);
        broker.ctl(["purge_queue", "-p", vhost, "mshost.manager"]);
        until_one_is_active(&hosts);
    }
    until_known(&hosts, 3);
}

fn count(host: &HostProcess, words: &str) -> usize {
    host.log().iter().filter(|line| line.contains(words)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_worker_of_a_dead_host_is_reported_to_its_sender() {
    let url = bus("waiting");
    let alive = host(&url, "alive", true);
    // Without a manager of its own, and none the less looked after by the other's.
    let mut dead = host(&url, "dead", false);
    assert_eq!(manager(&dead), "off");
    until_known(std::slice::from_ref(&alive), 2);
    let target = own(&dead);
    let sender: WorkerRef = WorkerId::new("Sender:1460306476102").unwrap().into();
    let bus = sending(&url);
    let mut heard = bus.subscribe().await.unwrap();

    dead.kill();
    let job = job(&target, &sender);
    bus.send(job.clone()).await.expect("its queue is still there");
    let failure = tokio::time::timeout(LIMIT, async {
        loop {
            match heard.next().await.expect("the bus is open") {
                Event::Notification(Notification::Error(failure)) if failure.id == job.id => break failure,
                _ => {}
            }
        }
    });
    let failure = failure.await.unwrap_or_else(|_| panic!("not reported\n{}", alive.log_text()));
    assert_eq!(failure.target, sender);
    assert!(failure.error.contains("no worker available"), "{}", failure.error);
    let queues = Broker::shared().ctl(["list_queues", "-p", "waiting", "--quiet", "name"]);
    assert!(!queues.contains(&*target.id), "{queues}");
}

fn sending(url: &str) -> AmqpBus {
    AmqpBus::connect(AmqpOptions {
        url: url.to_owned(),
        tls: BusTls::default(),
        codec: Codec::default(),
        durability: Durability::default(),
        absent: Absent::default(),
        limits: BusLimits::default(),
        host: "sender".to_owned(),
        metrics: Arc::clone(&Metrics::new().unwrap()),
    })
    .unwrap()
}

fn job(target: &WorkerRef, sender: &WorkerRef) -> Job {
    let id = JobId::new("J1460306476102").unwrap();
    Job {
        correlation: id.clone(),
        id,
        route: Route::parse([&*target.id]).unwrap(),
        origin: sender.clone(),
        sender: sender.clone(),
        attempt: 1,
        deadline: None,
        payload: Payload::encode(Codec::default(), &1).unwrap(),
    }
}
