//! State that goes from one version of a worker to the next while jobs come, and every way in which that can fail.

use std::time::{Duration, Instant};

use mshost_tests::broker::Broker;
use mshost_tests::counter_fixture::{library, value};
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, plugin, workers};
use mshost_tests::tcp_proxy::Proxy;
use mshost_tests::wait::{poll, until};
use serde_json::Value;

/// A host with a source of jobs and the worker that counts them.
struct StatefulSetup {
    host: HostProcess,
    kind: &'static str,
    /// The keys of the counter's `[[worker]]`.
    lines: String,
    /// Its `[worker.config]`.
    config: String,
    is_sending: bool,
    version: u32,
}

impl StatefulSetup {
    fn new(kind: &'static str, lines: &str) -> Self {
        let site = HostSite::new();
        site.plugin_bytes("libcounter.so", &library("counter", "000"));
        site.plugin_bytes("libsource.so", &library("counter", "000"));
        let (lines, config) = (lines.to_owned(), String::new());
        site.topology(&text(kind, &lines, &config, true));
        let host = HostProcess::start(site, &[]);
        let setup = Self { host, kind, lines, config, is_sending: true, version: 0 };
        setup.until_counted(20);
        setup
    }

    /// Has the counter run with this configuration.
    fn configure(&mut self, config: &str) {
        self.config = config.to_owned();
        self.host.site.topology(&text(self.kind, &self.lines, &self.config, self.is_sending));
    }

    /// Puts another version of the counter into the folder.
    fn replace(&mut self, name: &str) {
        self.version += 1;
        self.host.site.plugin_bytes("libcounter.so", &library(name, &format!("{:03}", self.version)));
    }

    /// What a plugin has set last.
    fn value(&self, kind: &str, name: &str) -> u64 {
        let metrics = self.host.ask("/metrics").body;
        value(&metrics, &format!(r#"mshost_plugin_value{{name="{name}",service="worker-{kind}"}}"#)).unwrap_or(0)
    }

    fn swaps(&self, outcome: &str) -> u64 {
        let metrics = self.host.ask("/metrics").body;
        let labels = format!(r#"{{outcome="{outcome}",worker_type="{}"}}"#, self.kind);
        value(&metrics, &format!("mshost_swaps_total{labels}")).unwrap_or(0)
    }

    fn until_counted(&self, more: u64) {
        let goal = self.value(self.kind, "count") + more;
        self.until(&format!("{goal} jobs counted"), || self.value(self.kind, "count") >= goal);
    }

    fn until_swapped(&self, times: u64) {
        self.until(&format!("{times} swaps"), || self.swaps("done") >= times);
    }

    fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        poll(LIMIT, || condition().then_some(()))
            .unwrap_or_else(|| panic!("waited in vain for {what}\n{}", self.host.log_text()));
    }

    fn worker(&self) -> Value {
        workers(&self.host.topology(), self.kind).next().cloned().unwrap_or_default()
    }

    /// Stops the source, waits until every job has been counted, and checks that each was counted once or came again saying so.
    fn ends_with_every_job_counted(mut self) {
        self.is_sending = false;
        self.configure(&self.config.clone());
        until_source_ended(&self.host);
        let kind = self.kind;
        self.host.until_topology("an empty queue", |topology| {
            let queue =
                topology["queues"].as_array()?.iter().find(|queue| queue["queue"] == format!("{kind}:*"))?.clone();
            (queue["ready"] == 0 && queue["unsettled"] == 0).then_some(())
        });
        let accepted = self.value("CS", "accepted");
        let counted = std::cell::Cell::new(0);
        let all = poll(LIMIT, || {
            counted.set(self.value(kind, "count"));
            (counted.get() == accepted).then_some(())
        });
        assert!(all.is_some(), "{} of {accepted} jobs counted\n{}", counted.get(), self.host.log_text());
        for (kind, name) in [("CS", "refused"), ("CS", "lost"), (kind, "unflagged")] {
            assert_eq!(self.value(kind, name), 0, "{name}\n{}", self.host.log_text());
        }
        assert!(self.host.stop().success(), "{}", self.host.log_text());
    }
}

/// Waits until the source has counted the last job that it sent. Its slot is gone before that: it drains.
fn until_source_ended(host: &HostProcess) {
    host.until_log(&["worker: stopped", "plugin=source"]);
}

fn text(kind: &str, lines: &str, config: &str, is_sending: bool) -> String {
    let source = if is_sending {
        format!(
            "[[worker]]\ntype = \"CS\"\nplugin = \"source\"\n[worker.config]\nto = \"{kind}:*\"\npause_ms = 2\nsenders = 4\n"
        )
    } else {
        String::new()
    };
    format!(
        r#"[host]
admin = "127.0.0.1:0"
debounce = "20ms"
snapshot_limit = "128KiB"
{source}
[[worker]]
type = "{kind}"
plugin = "counter"
start_timeout = "3s"
{lines}
[worker.config]
{config}
"#
    )
}

#[test]
fn a_state_goes_on_over_new_files_new_configurations_and_a_new_schema() {
    for kind in ["CA", "CB"] {
        let mut setup = StatefulSetup::new(kind, "concurrency = 4");
        for swap in 1..=6 {
            let before = setup.value(kind, "count");
            match swap % 2 {
                0 => setup.replace("counter"),
                _ => setup.configure(&format!("revision = {swap}\nwork_ms = 2")),
            }
            setup.until_swapped(swap);
            assert!(setup.value(kind, "count") >= before, "{kind}: the count began anew\n{}", setup.host.log_text());
            setup.until_counted(10);
        }
        assert_eq!(setup.value(kind, "schema"), 1);
        setup.replace("counter-2");
        setup.until_swapped(7);
        setup.until_counted(10);
        assert_eq!(setup.value(kind, "schema"), 2);
        setup.ends_with_every_job_counted();
    }
}

#[test]
fn whatever_fails_the_old_one_goes_on_with_its_state_and_the_failure_shows() {
    for kind in ["CA", "CB"] {
        let mut setup = StatefulSetup::new(kind, "concurrency = 4");
        // What the next one does wrong, then what the old one does.
        let steps = [
            ("start = \"fail\"", "told to fail in start"),
            ("restore = \"fail\"", "told to fail in restore"),
            ("restore = \"panic\"", "told to panic in restore"),
            ("restore = \"hang\"", "`restore` did not return within 3s (`start_timeout`)"),
            ("snapshot = \"fail\"", "told to fail in snapshot"),
            ("snapshot = \"panic\"", "told to panic in snapshot"),
            ("snapshot = \"hang\"", "`snapshot` did not return within 3s (`start_timeout`)"),
            ("snapshot = \"large\"", "larger than 131072 bytes (`snapshot_limit`)"),
        ];
        let (mut done, mut failed) = (0, 0);
        for (step, (config, error)) in steps.into_iter().enumerate() {
            setup.configure(config);
            if config.starts_with("snapshot") {
                // It is the one after it that cannot take over, once.
                done += 1;
                setup.until_swapped(done);
                setup.configure(&format!("revision = {step}"));
            }
            failed += 1;
            setup.until(&format!("failure {failed}: {error}"), || setup.swaps("failed") >= failed);
            let worker = setup.worker();
            let last_error = worker["last_error"]["message"].as_str().unwrap_or_default();
            assert!(last_error.contains(error), "{kind} {config}: {worker:#}\n{}", setup.host.log_text());
            assert_eq!(worker["state"], "running", "{kind} {config}: {worker:#}");
            setup.host.until_log(&["the old one goes on", error]);
            assert_eq!(setup.host.ask("/readyz").status, 200);
            setup.until_counted(10);
        }
        // A rollback to a version that does not know the state.
        setup.replace("counter-2");
        setup.until_swapped(done + 1);
        setup.replace("counter");
        setup.until("the refused schema", || setup.swaps("failed") > failed);
        let worker = setup.worker();
        assert!(
            worker["last_error"]["message"].as_str().unwrap().contains("schema 2 is from the future"),
            "{worker:#}"
        );
        setup.until_counted(10);
        setup.ends_with_every_job_counted();
    }
}

#[test]
fn jobs_that_do_not_end_in_time_go_back_and_say_that_they_come_again() {
    // Of the blocking one, each leaves as many threads behind as may overrun for good. They do not: it goes on.
    for kind in ["CA", "CB"] {
        let mut setup = StatefulSetup::new(kind, "concurrency = 4\ndrain_timeout = \"1ms\"\nabandoned_threads = 2");
        for swap in 1..=8 {
            setup.configure(&format!("work_ms = {}", 20 + swap));
            setup.until_swapped(swap);
            setup.until_counted(4);
        }
        setup.host.until_log(&["unfinished jobs go back to the queue"]);
        setup.ends_with_every_job_counted();
    }
}

#[test]
fn each_of_several_instances_hands_over_to_its_own_successor() {
    let mut setup = StatefulSetup::new("CA", "instances = 3\nconcurrency = 2");
    for swap in 1..=3 {
        setup.configure(&format!("revision = {swap}"));
        setup.until_swapped(3 * swap);
        setup.until_counted(5);
    }
    setup.is_sending = false;
    setup.configure("revision = 3");
    let host = &setup.host;
    until_source_ended(host);
    let accepted = setup.value("CS", "accepted");
    // Each state counts on from where it began, whoever has it by now.
    setup.until(&format!("{accepted} jobs counted in all"), || {
        let metrics = host.ask("/metrics").body;
        let counts = metrics.lines().filter(|line| line.contains(r#"name="count of CA:"#));
        let counts: Vec<u64> =
            counts.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).filter(|count| *count > 0).collect();
        assert!(counts.len() <= 3, "{counts:?}");
        counts.iter().sum::<u64>() == accepted
    });
    assert_eq!((setup.value("CS", "refused"), setup.value("CS", "lost")), (0, 0));
    assert!(plugin(&host.topology(), "counter").unwrap()["last_error"].is_null());
}

/// The same numbers on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn under_load_with_a_random_step_failing_each_time_nothing_is_lost_or_counted_twice_in_silence() {
    let _turn = mshost_tests::heavy::turn();
    const STEPS: [&str; 7] = [
        "",
        "start = \"fail\"",
        "start = \"panic\"",
        "restore = \"fail\"",
        "restore = \"panic\"",
        "snapshot = \"fail\"",
        "snapshot = \"panic\"",
    ];
    let mut random = Random(20_261_125);
    // Where processes come and go, a round takes longer.
    for (kind, isolation, rounds) in
        [("CA", "thread", 40), ("CB", "thread", 40), ("CA", "process", 10), ("CB", "process", 6)]
    {
        let lines = format!("concurrency = 8\ndrain_timeout = \"5ms\"\nisolation = \"{isolation}\"");
        let mut setup = StatefulSetup::new(kind, &lines);
        for round in 0..rounds {
            let decided = setup.swaps("done") + setup.swaps("failed");
            let step = STEPS[random.below(7) as usize];
            setup.configure(&format!("{step}\nwork_ms = {}\nrevision = {round}", random.below(12)));
            if random.below(3) == 0 {
                setup.replace("counter");
            }
            setup.until(&format!("an end of round {round}"), || setup.swaps("done") + setup.swaps("failed") > decided);
        }
        setup.until_counted(10);
        setup.ends_with_every_job_counted();
    }
}

#[test]
fn a_state_goes_from_a_thread_to_processes_and_back() {
    for kind in ["CA", "CB"] {
        let mut setup = StatefulSetup::new(kind, "concurrency = 4");
        for (swap, isolation) in (1..).zip(["process", "process", "thread", "process"]) {
            let before = setup.value(kind, "count");
            setup.lines = format!("concurrency = 4\nisolation = \"{isolation}\"");
            setup.configure(&format!("revision = {swap}"));
            setup.until_swapped(swap);
            assert_eq!(setup.worker()["process"].is_null(), isolation == "thread", "{:#}", setup.worker());
            setup.until_counted(10);
            assert!(setup.value(kind, "count") > before, "{kind}: the count began anew\n{}", setup.host.log_text());
        }
        setup.ends_with_every_job_counted();
    }
}

#[test]
fn a_process_that_fails_to_take_over_leaves_the_state_where_it_was() {
    let mut setup = StatefulSetup::new("CA", "concurrency = 4\nisolation = \"process\"");
    let id = setup.worker()["id"].clone();
    let steps = [
        ("start = \"panic\"", "told to panic in start"),
        ("restore = \"fail\"", "told to fail in restore"),
        ("restore = \"panic\"", "told to panic in restore"),
        ("restore = \"hang\"", "`restore` did not return within 3s (`start_timeout`)"),
    ];
    for (failed, (config, error)) in (1..).zip(steps) {
        setup.configure(config);
        setup.until(&format!("failure {failed}: {error}"), || setup.swaps("failed") >= failed);
        let worker = setup.worker();
        assert!(worker["last_error"]["message"].as_str().unwrap_or_default().contains(error), "{worker:#}");
        assert_eq!((&worker["id"], &worker["state"]), (&id, &Value::from("running")), "{worker:#}");
        setup.until_counted(10);
    }
    setup.configure("snapshot = \"large\"");
    setup.until_swapped(1);
    setup.configure("revision = 9");
    setup.host.until_log(&["the old one goes on", "larger than 131072 bytes (`snapshot_limit`)"]);
    setup.ends_with_every_job_counted();
}

#[test]
fn the_state_ends_with_the_host_and_begins_anew() {
    let mut setup = StatefulSetup::new("CA", "concurrency = 4");
    setup.host.restart(&[]);
    until("a count from the beginning", LIMIT, || {
        let (count, accepted) = (setup.value("CA", "count"), setup.value("CS", "accepted"));
        (count > 0 && count <= accepted + 8).then_some(())
    });
}

/// For how long the broker does not answer.
const SILENCE: Duration = Duration::from_secs(30);

/// The worker is replaced meanwhile: it is to take no more jobs, which the broker does not confirm.
#[test]
fn a_broker_that_hangs_does_not_time_out_the_handlers_of_a_worker_that_is_being_replaced() {
    let broker = Broker::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(broker.addr()));
    let site = HostSite::new();
    site.plugin_bytes("libcounter.so", &library("counter", "000"));
    site.plugin_bytes("libsource.so", &library("counter", "000"));
    // No heartbeat is missed: the connection stays, and what is asked of the broker waits.
    let bus = format!("[bus]\nurl = \"amqp://guest:guest@{}/?heartbeat=60\"\n", proxy.addr());
    let lines = "concurrency = 4\ntimeout = \"10s\"\ndrain_timeout = \"60s\"";
    site.topology(&(text("CA", lines, "work_ms = 6000", true) + &bus));
    let host = HostProcess::start(site, &[]);
    let worker = |topology: &Value| workers(topology, "CA").next().cloned();
    let metric = |series: &str| value(&host.ask("/metrics").body, series).unwrap_or(0);
    let counted = || metric(r#"mshost_plugin_value{name="count",service="worker-CA"}"#);
    let overruns = || metric(r#"mshost_overruns_total{type="CA"}"#);
    let old = host.until_topology("jobs in hand", |topology| worker(topology).filter(|old| old["in_flight"] == 4));

    let before = counted();
    proxy.stall();
    let silent = Instant::now();
    host.site.plugin_bytes("libcounter.so", &library("counter", "001"));
    host.until_log(&["worker: handing over"]);
    poll(LIMIT, || (counted() > before).then_some(())).expect("handlers go on");
    assert!(silent.elapsed() < SILENCE, "while the broker does not answer");
    runtime.block_on(async { tokio::time::sleep(SILENCE.saturating_sub(silent.elapsed())).await });
    proxy.heal();

    let has_replaced = |new: &Value| new["id"] != old["id"];
    let new = host.until_topology("the successor", |topology| worker(topology).filter(has_replaced));
    assert_eq!((&new["failed"], overruns()), (&Value::from(0), 0), "{new:#}\n{}", host.log_text());
}
