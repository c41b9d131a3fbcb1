//! The end of a host: what it has begun is finished first.

use mshost_tests::broker::Broker;
use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT};
use mshost_tests::load::HttpLoad;
use mshost_tests::movie_example::{self, MovieTopology};
use mshost_tests::wait::until;
use nix::sys::signal::Signal;

/// All that a client may see of a host that ends in good order: nobody listens any more, or the kernel took a connection
/// that nobody was there to accept.
const GONE: [&str; 2] = ["Connection refused", "Connection reset by peer"];

fn requests_in_hand_are_answered_before_the_end(topology: &MovieTopology) {
    let (mut host, rest) = movie_example::serve(topology, &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let load = runtime.block_on(async { HttpLoad::new(rest, "/movies/", 50).start() });
    until("some answers", LIMIT, || (load.successes() > 200).then_some(()));
    host.signal(Signal::SIGTERM);
    let status = host.until_ended();
    let report = runtime.block_on(load.stop());
    assert!(status.success(), "{status}\n{}", host.log_text());
    let gone = |reason: &str| GONE.iter().any(|gone| reason.contains(gone));
    let other: Vec<_> = report.failures.iter().filter(|failure| !gone(&failure.reason)).take(10).collect();
    assert!(other.is_empty(), "{other:#?}\n{}", host.log_text());
}

#[test]
fn on_the_embedded_bus() {
    requests_in_hand_are_answered_before_the_end(&MovieTopology::default());
}

#[test]
fn on_rabbitmq() {
    let bus = Broker::shared().url();
    requests_in_hand_are_answered_before_the_end(&MovieTopology { bus, ..MovieTopology::default() });
}

#[test]
fn a_broker_that_is_not_there_keeps_nobody_from_looking_or_ending() {
    // Bound and never answered: nobody else can take the port.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bus = format!("amqp://guest:s3cr3t@{}", nobody.local_addr().unwrap());
    let site = HostSite::new();
    for name in ["rest", "pilot", "db"] {
        site.plugin(&fixtures::example(name));
    }
    site.topology(&MovieTopology { bus, ..MovieTopology::default() }.text());
    let mut host = HostProcess::start(site, &[]);
    assert_eq!(host.ask("/healthz").status, 200);
    let ready = host.ask("/readyz");
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert!(ready.body.contains("the bus is away"), "{}", ready.body);
    assert!(host.stop().success(), "{}", host.log_text());
    assert!(!host.log_text().contains("s3cr3t"), "{}", host.log_text());
}
