//! Plugins that panic, hang and fail: what is told of it, what restarts, what is parked, and what becomes of the jobs.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use mshost_tests::broker::Broker;
use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, workers};
use mshost_tests::http_request::{HttpAnswer, post};
use mshost_tests::wait::until;
use serde_json::{Value, json};

const PLUGIN: &str = "mshost_fixture_panics";

/// What a test changes of the topology.
#[derive(Clone, Default)]
struct FailureSetup {
    /// `PA` or `PB`.
    kind: &'static str,
    /// Lines of `[bus]`.
    bus: String,
    /// Lines of the worker.
    lines: &'static str,
    /// Lines of its config.
    config: &'static str,
}

/// A host with a worker that does as it is told, and the driver that tells it.
struct FailingHost {
    host: HostProcess,
    setup: FailureSetup,
    orders: TcpStream,
}

impl FailingHost {
    fn new(setup: FailureSetup) -> Self {
        let site = HostSite::new();
        site.plugin(&fixtures::fixture("panics"));
        site.topology(&topology(&site, &setup));
        let host = HostProcess::start(site, &[]);
        host.until_running("PD", 1);
        let orders = connect(&host);
        Self { host, setup, orders }
    }

    /// One whose worker runs.
    fn running(setup: FailureSetup) -> Self {
        let failing = Self::new(setup);
        failing.host.until_running(failing.setup.kind, 1);
        failing
    }

    fn order(&mut self, name: &str, what: &Value) {
        let line = format!("{} {}\n", self.setup.kind, json!({"name": name, "do": what}));
        self.orders.write_all(line.as_bytes()).unwrap();
    }

    fn journal(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.host.site.path().join("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The lines of the journal that begin with these words.
    fn lines(&self, words: &str) -> Vec<String> {
        self.journal().into_iter().filter(|line| line.starts_with(words)).collect()
    }

    /// Waits until the journal has this many lines that begin with these words, and returns them.
    fn until_lines(&self, words: &str, count: usize) -> Vec<String> {
        mshost_tests::wait::poll(LIMIT, || Some(self.lines(words)).filter(|lines| lines.len() >= count))
            .unwrap_or_else(|| panic!("no {count} lines {words:?} in {:#?}\n{}", self.journal(), self.host.log_text()))
    }

    fn worker(&self) -> Value {
        let topology = self.host.topology();
        workers(&topology, self.setup.kind).next().cloned().unwrap_or_default()
    }

    fn id(&self) -> String {
        self.worker()["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the worker is in a state, and returns it.
    fn until_state(&self, state: &str) -> Value {
        self.host.until_topology(&format!("a worker that is {state}"), |topology| {
            workers(topology, self.setup.kind).find(|worker| worker["state"] == state).cloned()
        })
    }

    /// Waits until another worker than this one runs.
    fn until_another(&self, id: &str) -> Value {
        self.host.until_topology("another worker", |topology| {
            let other = |worker: &&Value| worker["state"] == "running" && worker["id"] != *id;
            workers(topology, self.setup.kind).find(other).cloned()
        })
    }

    fn until_metric(&self, line: &str) {
        until(&format!("the metric {line}"), LIMIT, || {
            self.host.ask("/metrics").body.lines().any(|found| found == line).then_some(())
        });
    }

    fn until_panics(&self, place: &str, count: usize) {
        self.until_metric(&format!("mshost_plugin_panics_total{{plugin=\"{PLUGIN}\",where=\"{place}\"}} {count}"));
    }

    fn restart(&self, name: &str) -> HttpAnswer {
        post(self.host.admin(), &format!("/api/workers/{name}/restart"), "").unwrap()
    }

    /// A file that handlers wait for.
    fn gate(&self, name: &str) -> PathBuf {
        self.host.site.path().join(name)
    }

    fn wait_for(&self, gate: &str) -> Value {
        json!({"wait": self.gate(gate)})
    }

    fn open(&self, gate: &str) {
        std::fs::write(self.gate(gate), b"").unwrap();
    }

    fn change(&mut self, change: impl FnOnce(&mut FailureSetup)) {
        change(&mut self.setup);
        self.host.site.topology(&topology(&self.host.site, &self.setup));
    }
}

/// The driver's socket.
fn connect(host: &HostProcess) -> TcpStream {
    let address: SocketAddr = host.until_topology("the driver's socket", |topology| {
        workers(topology, "PD").find_map(|worker| worker["addresses"]["orders"].as_str()?.parse().ok())
    });
    TcpStream::connect(address).unwrap()
}

fn topology(site: &HostSite, setup: &FailureSetup) -> String {
    let FailureSetup { kind, bus, lines, config } = setup;
    let journal = site.path().join("journal");
    let journal = journal.display();
    format!(
        r#"
[host]
admin = "127.0.0.1:0"
debounce = "50ms"
[bus]
{bus}
[defaults]
retry = {{ delay = "1ms", max_attempts = 2 }}
[[worker]]
type = "PD"
plugin = "{PLUGIN}"
listen = {{ orders = "127.0.0.1:0" }}
[worker.config]
journal = "{journal}"
[[worker]]
type = "{kind}"
plugin = "{PLUGIN}"
{lines}
[worker.config]
journal = "{journal}"
{config}
"#
    )
}

fn begun_by(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.rsplit(' ').next().unwrap()).collect()
}

#[test]
fn a_panic_in_a_handler_replaces_the_worker_and_the_jobs_beside_it_finish() {
    for kind in ["PA", "PB"] {
        let mut failing = FailingHost::running(FailureSetup { kind, ..FailureSetup::default() });
        let old = failing.id();
        failing.order("beside", &failing.wait_for("gate"));
        failing.until_lines("begin beside", 1);
        failing.order("bad", &json!("panic_once"));
        let fresh = failing.until_another(&old);
        failing.until_lines("done bad", 1);
        failing.open("gate");
        failing.until_lines("done beside", 1);
        failing.until_lines("gone", 1);

        assert_eq!(begun_by(&failing.lines("begin beside")), [&*old], "it finished where it was");
        let (first, second) = (failing.lines("begin bad 1"), failing.lines("begin bad 2"));
        assert_eq!((begun_by(&first), begun_by(&second)), (vec![&*old], vec![fresh["id"].as_str().unwrap()]));
        assert_eq!((&fresh["restarts"], &fresh["last_error"]), (&json!(1), &Value::Null), "{fresh}");
        let line = failing.host.until_log(&["panicked at tests/fixtures/panics/src/lib.rs:", "told to panic by bad"]);
        assert!(line.contains(PLUGIN), "{line}");
        failing.host.until_log(&[&old, "broken: its plugin panicked: panicked at tests/fixtures/panics/src/lib.rs:"]);
        failing.until_panics("handle", 1);
        assert_eq!(failing.host.ask("/readyz").status, 200);
    }
}

#[test]
fn what_a_panicked_worker_does_not_finish_in_time_goes_back_with_its_attempt() {
    let mut failing =
        FailingHost::running(FailureSetup { kind: "PA", lines: "drain_timeout = \"50ms\"", ..FailureSetup::default() });
    failing.order("beside", &failing.wait_for("gate"));
    failing.until_lines("begin beside", 1);
    failing.order("bad", &json!("panic_once"));
    let begun = failing.until_lines("begin beside 1", 2);
    failing.open("gate");
    failing.until_lines("done beside", 1);
    failing.until_lines("done bad", 1);
    let ids = begun_by(&begun);
    assert_ne!(ids[0], ids[1], "another worker does it, as the same attempt");
    assert_eq!(failing.lines("begin beside").len(), 2);
    assert_eq!(failing.lines("done beside").len(), 1);
}

#[test]
fn a_panic_in_on_error_replaces_the_worker() {
    for kind in ["PA", "PB"] {
        let mut failing =
            FailingHost::running(FailureSetup { kind, config: "panics_in = \"on_error\"", ..FailureSetup::default() });
        let old = failing.id();
        failing.order("outer", &json!("send_failing"));
        failing.until_lines("failed told to fail", 1);
        failing.until_another(&old);
        failing.until_panics("on_error", 1);
        failing.order("after", &json!("ok"));
        failing.until_lines("done after", 1);
    }
}

#[test]
fn a_panic_of_a_worker_that_leaves_is_told_and_disturbs_nobody() {
    // `stop` has the worker by value, so that it is dropped in there.
    for (kind, config, place) in [
        ("PA", "panics_in = \"drain\"", "drain"),
        ("PA", "panics_in = \"stop\"", "stop"),
        ("PB", "panics_in = \"stop\"", "stop"),
        ("PA", "panics_in = \"drop\"", "stop"),
        ("PB", "panics_in = \"drop\"", "stop"),
    ] {
        let mut failing = FailingHost::running(FailureSetup { kind, config, ..FailureSetup::default() });
        let old = failing.id();
        failing.change(|setup| setup.config = "");
        failing.until_another(&old);
        failing.until_lines("gone", 1);
        failing.until_panics(place, 1);
        failing.host.until_log(&["panicked at tests/fixtures/panics/src/lib.rs:", "told to panic in"]);
        failing.order("after", &json!("ok"));
        failing.until_lines("done after", 1);
        assert!(failing.host.stop().success(), "{}", failing.host.log_text());
    }
}

#[test]
fn panics_of_the_plugins_own_are_told_and_counted_and_restart_nobody() {
    for kind in ["PA", "PB"] {
        let mut failing = FailingHost::running(FailureSetup { kind, ..FailureSetup::default() });
        let id = failing.id();
        failing.order("task", &json!("panic_in_task"));
        failing.order("thread", &json!("panic_in_thread"));
        failing.order("caught", &json!("catch_panic"));
        failing.until_lines("done", 3);
        failing.until_panics("task", 1);
        failing.until_panics("thread", 1);
        failing.until_panics("handle", 1);
        for words in ["told to panic in a task", "told to panic in a thread", "told to panic and to catch it"] {
            failing.host.until_log(&["panicked at tests/fixtures/panics/src/lib.rs:", words]);
        }
        failing.order("after", &json!("ok"));
        failing.until_lines("done after", 1);
        assert_eq!((failing.id(), failing.worker()["restarts"].clone()), (id, json!(0)));
    }
}

/// Lines of a worker that is parked at its second panic.
const PARKED_SOON: &str =
    "retry = { max_attempts = 1 }\nrestart = { delay = \"1ms\", max_restarts = 1, window = \"1h\" }";

fn park(failing: &mut FailingHost) -> Value {
    let id = failing.id();
    failing.order("bad", &json!("panic"));
    failing.until_another(&id);
    failing.order("bad", &json!("panic"));
    failing.until_state("parked")
}

#[test]
fn a_worker_that_panics_too_often_is_parked_until_somebody_does_something() {
    let bus = "absent = \"wait\"".to_owned();
    let mut failing =
        FailingHost::running(FailureSetup { kind: "PA", bus, lines: PARKED_SOON, ..FailureSetup::default() });
    let parked = park(&mut failing);
    let reason = parked["last_error"]["message"].as_str().unwrap();
    for words in ["told to panic by bad", "it had 1 restarts within 1h", "mshost restart 'PA[0]'"] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    assert!(parked["since"].is_string(), "{parked}");
    let ready = failing.host.ask("/readyz");
    assert!(ready.status == 503 && ready.body.contains("worker PA[0] is parked: "), "{ready:?}");
    failing.until_metric("mshost_worker_state{state=\"parked\",worker_type=\"PA\"} 1");

    // Its jobs wait.
    failing.order("waits", &json!("ok"));
    failing.until_metric("mshost_queue_ready{queue=\"PA:*\"} 1");
    let unknown = failing.restart("nobody");
    assert!(unknown.status == 404 && unknown.body.contains("there is no worker nobody"), "{unknown:?}");
    assert_eq!(failing.restart("PA[0]").status, 202);
    failing.until_lines("done waits", 1);
    failing.until_state("running");
    assert_eq!(failing.host.ask("/readyz").status, 200);

    park(&mut failing);
    let admin = failing.host.admin().to_string();
    let mut command = Command::new(fixtures::mshost_binary());
    let said = command.args(["restart", "PA[0]", "--admin", &admin]).stdin(Stdio::null()).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "PA[0]: restart requested\n");
    failing.until_state("running");

    park(&mut failing);
    // What follows a library's sections is nobody's: another file, and the same plugin.
    let file = fixtures::fixture("panics");
    let name = file.file_name().unwrap().to_str().unwrap();
    failing.host.site.plugin_bytes(name, &[std::fs::read(&file).unwrap(), vec![0]].concat());
    failing.until_state("running");
    // The driver is of the same plugin, and has been replaced as well.
    failing.host.until_log(&["unloaded", PLUGIN, "generation=1"]);
    failing.orders = connect(&failing.host);

    park(&mut failing);
    failing.change(|setup| setup.config = "starts_without = \"nothing\"");
    failing.until_state("running");
    failing.order("after", &json!("ok"));
    failing.until_lines("done after", 1);
}

#[test]
fn a_healthy_worker_is_replaced_when_somebody_asks_and_the_old_one_finishes() {
    let mut failing = FailingHost::running(FailureSetup { kind: "PA", ..FailureSetup::default() });
    let old = failing.id();
    failing.order("beside", &failing.wait_for("gate"));
    failing.until_lines("begin beside", 1);
    let answer = failing.restart(&old);
    assert_eq!((answer.status, answer.json()), (202, json!({"slot": "PA[0]", "restart": "requested"})));
    let fresh = failing.until_another(&old);
    assert_eq!(fresh["restarts"], 1);
    failing.order("after", &json!("ok"));
    assert_eq!(begun_by(&failing.until_lines("done after", 1)), [fresh["id"].as_str().unwrap()]);
    failing.open("gate");
    assert_eq!(begun_by(&failing.until_lines("done beside", 1)), [&*old]);
    assert_eq!(failing.restart(&old).status, 404, "it has left");
}

#[test]
fn a_worker_that_cannot_start_is_tried_for_ever_where_the_topology_says_so() {
    let lines = "restart = { delay = \"1ms\", max_delay = \"2ms\", max_restarts = \"off\" }";
    let config = "starts_without = \"closed\"";
    let mut failing = FailingHost::running(FailureSetup { kind: "PA", lines, config, ..FailureSetup::default() });
    failing.open("closed");
    failing.order("bad", &json!("panic_once"));
    until("twenty tries", LIMIT, || {
        let tries = failing.host.log().iter().filter(|line| line.contains("told not to start; again in")).count();
        (tries >= 20).then_some(())
    });
    let waiting = failing.host.until_topology("a worker that waits", |topology| {
        workers(topology, "PA").find(|worker| worker["state"] == "backoff").cloned()
    });
    assert!(waiting["last_error"]["message"].as_str().unwrap().contains("told not to start"), "{waiting}");
    std::fs::remove_file(failing.gate("closed")).unwrap();
    // The broken worker has kept its place meanwhile, so that the job waited.
    failing.until_lines("done bad", 1);
    failing.until_state("running");
}

#[test]
fn a_start_that_panics_is_tried_again_and_then_parked() {
    let lines = "restart = { delay = \"1ms\", max_restarts = 2 }";
    let mut failing = FailingHost::new(FailureSetup {
        kind: "PA",
        lines,
        config: "panics_in = \"start\"",
        ..FailureSetup::default()
    });
    let parked = failing.until_state("parked");
    let reason = parked["last_error"]["message"].as_str().unwrap();
    assert!(reason.contains("told to panic in Start") && reason.contains("src/lib.rs:"), "{reason}");
    failing.until_panics("start", 3);
    failing.change(|setup| setup.config = "");
    failing.until_state("running");
}

#[test]
fn a_slot_with_too_many_abandoned_threads_is_parked_until_they_come_back() {
    let lines = "timeout = \"50ms\"\nabandoned_threads = 2\nretry = { max_attempts = 1 }";
    let mut failing = FailingHost::running(FailureSetup { kind: "PB", lines, ..FailureSetup::default() });
    let id = failing.id();
    failing.order("one", &failing.wait_for("gate"));
    failing.until_metric("mshost_abandoned_threads 1");
    failing.order("beside", &json!("ok"));
    failing.until_lines("done beside", 1);
    assert_eq!(failing.id(), id, "one is not too many");
    failing.order("two", &failing.wait_for("gate"));
    let parked = failing.until_state("parked");
    let reason = parked["last_error"]["message"].as_str().unwrap();
    assert!(reason.contains("2 threads of its handlers overran `timeout` (50ms)"), "{reason}");
    assert!(reason.contains("`abandoned_threads`"), "{reason}");
    failing.until_metric("mshost_overruns_total{type=\"PB\"} 2");
    let refused = failing.restart("PB[0]");
    assert!(refused.status == 409 && refused.body.contains("have not come back"), "{refused:?}");
    failing.open("gate");
    failing.until_metric("mshost_abandoned_threads 0");
    assert_eq!(failing.restart("PB[0]").status, 202);
    failing.until_state("running");
}

#[test]
fn the_jobs_of_parked_workers_fail_where_the_topology_says_so() {
    let lines = "parked = \"fail\"\nretry = { max_attempts = 1 }\nrestart = { max_restarts = 0 }";
    let bus = "absent = \"wait\"".to_owned();
    let mut failing = FailingHost::running(FailureSetup { kind: "PA", bus, lines, ..FailureSetup::default() });
    failing.order("bad", &json!("panic"));
    failing.until_state("parked");
    failing.order("waits", &json!("ok"));
    let refused = failing.until_lines("refused waits", 1);
    assert!(refused[0].contains("no worker available for PA:*: PA[0] is parked"), "{refused:?}");
    failing.until_metric("mshost_dead_letters_total{reason=\"no_worker\",type=\"PA\"} 1");
    assert_eq!(failing.restart("PA[0]").status, 202);
    failing.until_state("running");
    failing.order("after", &json!("ok"));
    failing.until_lines("done after", 1);
    assert_eq!(failing.lines("refused after"), Vec::<String>::new());
}

#[test]
fn libraries_that_stay_in_memory_are_counted_and_the_next_is_refused_with_what_to_do() {
    let site = HostSite::new();
    let file = std::fs::read(fixtures::fixture("never-unload")).unwrap();
    // What follows a library's sections is nobody's, so that each is another file and the same plugin.
    let version = |number: usize| [&*file, &vec![0; number]].concat();
    site.plugin_bytes("libnever.so", &file);
    let host = "[host]\nadmin = \"127.0.0.1:0\"\ndebounce = \"50ms\"\nmapped_limit = 2\n";
    site.topology(&format!("{host}[[worker]]\ntype = \"NV\"\nplugin = \"never\"\n"));
    let host = HostProcess::start(site, &[]);
    host.until_running("NV", 1);
    let kept = |count: usize| {
        let line = format!("mshost_still_mapped_total {count}");
        until(&line, LIMIT, || host.ask("/metrics").body.lines().any(|found| found == line).then_some(()));
    };
    for number in 1..=2 {
        host.site.plugin_bytes("libnever.so", &version(number));
        kept(number);
    }
    host.site.plugin_bytes("libnever.so", &version(3));
    let error = host.until_topology("the refusal", |topology| {
        mshost_tests::host_process::plugin(topology, "never")?["last_error"]["message"].as_str().map(str::to_owned)
    });
    for words in ["2 libraries of plugins stay in memory", "`host.mapped_limit`", "restart the host"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    host.until_running("NV", 1);
    assert_eq!(host.ask("/readyz").status, 200);
}

#[test]
fn where_keys_for_thread_locals_run_short_the_next_version_is_refused_and_the_old_one_goes_on() {
    // Takes most of the keys before the host starts; each version that stays in memory keeps one more.
    const HOG: &str = "#include <pthread.h>\n__attribute__((constructor)) void hog(void) \
                       { pthread_key_t key; for (int i = 0; i < 952; i++) pthread_key_create(&key, 0); }";
    const MOST: usize = 20;
    let site = HostSite::new();
    let hog = site.path().join("hog.so");
    std::fs::write(&hog, fixtures::c_library(HOG, &[])).unwrap();
    let file = std::fs::read(fixtures::fixture("never-unload")).unwrap();
    site.plugin_bytes("libnever.so", &file);
    let host = "[host]\nadmin = \"127.0.0.1:0\"\ndebounce = \"50ms\"\nmapped_limit = 100\n";
    site.topology(&format!("{host}[[worker]]\ntype = \"NV\"\nplugin = \"never\"\n"));
    let host = HostProcess::start(site, &[("LD_PRELOAD", hog.to_str().unwrap())]);
    host.until_running("NV", 1);
    let refusal = (1..MOST).find_map(|number| {
        host.site.plugin_bytes("libnever.so", &[&*file, &vec![0; number]].concat());
        host.until_topology("a version or its refusal", |topology| {
            let plugin = mshost_tests::host_process::plugin(topology, "never")?;
            match plugin["last_error"]["message"].as_str() {
                Some(error) => Some(Some(error.to_owned())),
                None => (plugin["generation"] == 1 + number).then_some(None),
            }
        })
    });
    let refusal = refusal.expect("a refusal");
    for words in ["64 keys for thread-locals left, and keeps 64", "restart the host"] {
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
    let metrics = host.ask("/metrics").body;
    assert!(metrics.contains("\nmshost_thread_keys_free 64\n"), "{metrics}");
    host.until_running("NV", 1);
    assert_eq!(host.ask("/readyz").status, 200);
}

#[test]
fn on_rabbitmq_too_a_job_waits_for_the_fresh_worker_and_fails_once_all_are_parked() {
    let bus = format!("url = \"{}\"", Broker::shared().url_of("crashes"));
    let lines = "parked = \"fail\"\nrestart = { delay = \"1ms\", max_restarts = 1, window = \"1h\" }";
    let mut failing = FailingHost::running(FailureSetup { kind: "PA", bus, lines, ..FailureSetup::default() });
    failing.order("bad", &json!("panic_once"));
    failing.until_lines("done bad", 1);
    failing.order("worse", &json!("panic"));
    failing.until_state("parked");
    // Its second attempt finds nobody.
    let refused = failing.until_lines("refused worse", 1);
    assert!(refused[0].contains("no worker available for PA:*: PA[0] is parked"), "{refused:?}");
    assert_eq!(failing.restart("PA[0]").status, 202);
    failing.until_state("running");
    failing.order("after", &json!("ok"));
    failing.until_lines("done after", 1);
}
