//! What a worker does before it has a place on the bus.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use mshost_tests::fixtures;
use mshost_tests::host::{Host, LIMIT, Site, workers};
use mshost_tests::wait::until;

/// A host with a worker that starts so, and whether its task could send it a job.
fn sent(start: &str) -> (Host, bool) {
    let site = Site::new();
    site.plugin(&fixtures::fixture("echo"));
    let worker = "[[worker]]\ntype = \"EC\"\nplugin = \"mshost_fixture_echo\"\n[worker.config]\nstart =";
    site.topology(&format!("[host]\nadmin = \"127.0.0.1:0\"\n{worker} \"{start}\"\n"));
    let host = Host::start(site, &[]);
    let sent = until("the task's send to end", LIMIT, || {
        let metrics = host.ask("/metrics").body;
        let line = metrics.lines().find(|line| line.starts_with("mshost_plugin_value") && line.contains("\"sent\""))?;
        Some(line.ends_with(" 1"))
    });
    (host, sent)
}

/// An HTTP edge that serves as soon as it has started asks others, and their answers come to its id.
#[test]
fn what_a_task_sends_waits_until_the_worker_can_be_reached() {
    let (host, sent) = sent("task_sends");
    assert!(sent, "{}", host.log_text());
    host.until_topology("the job to be done", |topology| {
        workers(topology, "EC").any(|worker| worker["done"] == 1).then_some(())
    });
}

#[test]
fn a_start_that_waits_for_its_task_ends_all_the_same() {
    let (host, sent) = sent("awaits_task");
    assert!(!sent, "nobody can be reached before it has started");
    host.until_running("EC", 1);
}
