//! What a worker does before it has a place on the bus.

use std::fs::File;

use mshost_tests::broker::Broker;
use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, workers};
use mshost_tests::wait::until;

/// A host with a worker that starts so, and whether its task could send it a job.
fn sent(start: &str) -> (HostProcess, bool) {
    let site = HostSite::new();
    site.plugin(&fixtures::fixture("echo"));
    let worker = "[[worker]]\ntype = \"EC\"\nplugin = \"mshost_fixture_echo\"\n[worker.config]\nstart =";
    site.topology(&format!("[host]\nadmin = \"127.0.0.1:0\"\n{worker} \"{start}\"\n"));
    let host = HostProcess::start(site, &[]);
    let sent = until("the task's send to end", LIMIT, || value(&host, "sent")) == "1";
    (host, sent)
}

/// A value that the worker has set.
fn value(host: &HostProcess, name: &str) -> Option<String> {
    let (metrics, name) = (host.ask("/metrics").body, format!("\"{name}\""));
    let line = metrics.lines().find(|line| line.starts_with("mshost_plugin_value") && line.contains(&name))?;
    line.rsplit(' ').next().map(str::to_owned)
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

/// A host with a worker that sends another a job while that is still being started; that one then does what the files of these
/// names make it do, one after the other. What the send came to.
fn sent_to_one_that_starts(bus: &str, isolation: &str, restart: &str, then: &[&str]) -> (HostProcess, String) {
    let (site, folder) = (HostSite::new(), tempfile::tempdir().unwrap());
    site.plugin(&fixtures::fixture("echo"));
    let worker = |kind: &str, lines: &str| {
        format!("[[worker]]\ntype = \"{kind}\"\nplugin = \"mshost_fixture_echo\"\nstart_timeout = \"2m\"\n{lines}\n")
    };
    let sender = worker("EC", &format!("isolation = \"{isolation}\"\nconfig.start = \"task_sends_blocking\""));
    let late = worker("EB", &format!("restart = {restart}\nconfig.start = {{ awaits_file = {:?} }}", folder.path()));
    site.topology(&format!("[host]\nadmin = \"127.0.0.1:0\"\n[bus]\nurl = \"{bus}\"\n{sender}{late}"));
    let host = HostProcess::start(site, &[]);
    until("the job to be sent", LIMIT, || value(&host, "sending"));
    host.until_running("EC", 1);
    assert_eq!(value(&host, "sent"), None, "{}", host.log_text());
    for name in then {
        let file = folder.path().join(name);
        File::create(&file).unwrap();
        if *name != then[then.len() - 1] {
            host.until_log(&["EB[0]", "again in"]);
            assert_eq!(value(&host, "sent"), None, "{}", host.log_text());
            std::fs::remove_file(&file).unwrap();
        }
    }
    let sent = until("the send to end", LIMIT, || value(&host, "sent"));
    (host, sent)
}

/// In which order a host starts its workers is no concern of theirs.
#[test]
fn a_job_for_a_type_that_is_being_started_waits_for_it() {
    let broker = Broker::shared().url_of("starting");
    for (bus, isolation) in [("embedded", "thread"), ("embedded", "process"), (&*broker, "thread")] {
        let (host, sent) = sent_to_one_that_starts(bus, isolation, "{}", &["go"]);
        assert_eq!(sent, "1", "{bus}, {isolation}: {}", host.log_text());
        host.until_topology("the job to be done", |topology| {
            workers(topology, "EB").any(|worker| worker["done"] == 1).then_some(())
        });
    }
}

/// It is tried again, so that it is about to be there as it was before.
#[test]
fn it_waits_on_where_that_type_is_started_again() {
    for isolation in ["thread", "process"] {
        let restart = "{ delay = \"100ms\", max_restarts = \"off\" }";
        let (host, sent) = sent_to_one_that_starts("embedded", isolation, restart, &["fail", "go"]);
        assert_eq!(sent, "1", "{isolation}: {}", host.log_text());
        host.until_topology("the job to be done", |topology| {
            workers(topology, "EB").any(|worker| worker["done"] == 1).then_some(())
        });
    }
}

#[test]
fn it_is_refused_once_that_type_could_not_be_started() {
    for isolation in ["thread", "process"] {
        let (host, sent) = sent_to_one_that_starts("embedded", isolation, "{ max_restarts = 0 }", &["fail"]);
        assert_eq!(sent, "0", "{isolation}: {}", host.log_text());
    }
}
