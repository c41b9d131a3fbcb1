//! New versions on trial beside the one before.

use mshost_tests::counter_fixture::{library, value};
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, plugin, workers};
use mshost_tests::wait::poll;
use serde_json::Value;

struct CanarySetup {
    host: HostProcess,
    canary: &'static str,
    isolation: &'static str,
}

impl CanarySetup {
    /// A host with a version that fails `mode` of a hundred jobs, and a source of jobs.
    fn new(canary: &'static str, mode: &str) -> Self {
        Self::isolated(canary, mode, "thread")
    }

    fn isolated(canary: &'static str, mode: &str, isolation: &'static str) -> Self {
        let site = HostSite::new();
        site.plugin_bytes("libcounter.so", &library("counter", mode));
        site.plugin_bytes("libsource.so", &library("counter", "000"));
        site.topology(&text(canary, 1, isolation));
        let setup = Self { host: HostProcess::start(site, &[]), canary, isolation };
        setup.until_seen(mode, 20);
        setup
    }

    fn replace(&self, mode: &str) {
        self.host.site.plugin_bytes("libcounter.so", &library("counter", mode));
    }

    fn metric(&self, series: &str) -> u64 {
        value(&self.host.ask("/metrics").body, series).unwrap_or(0)
    }

    /// How many jobs the workers of a version have had.
    fn seen(&self, mode: &str) -> u64 {
        let mode: u32 = mode.parse().unwrap();
        self.metric(&format!(r#"mshost_plugin_value{{name="seen_{mode}",service="worker-CP"}}"#))
    }

    fn until_seen(&self, mode: &str, more: u64) {
        let goal = self.seen(mode) + more;
        self.until(&format!("{goal} jobs of {mode}"), || self.seen(mode) >= goal);
    }

    fn ended(&self, outcome: &str) -> u64 {
        self.metric(&format!(r#"mshost_canaries_total{{outcome="{outcome}",plugin="counter"}}"#))
    }

    fn until_ended(&self, outcome: &str, times: u64) {
        self.until(&format!("{times} {outcome}"), || self.ended(outcome) >= times);
        assert_eq!(self.ended(outcome), times);
    }

    fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        poll(LIMIT, || condition().then_some(()))
            .unwrap_or_else(|| panic!("waited in vain for {what}\n{}", self.host.log_text()));
    }

    fn until_on_trial(&self) {
        self.host.until_topology("a trial", |t| plugin(t, "counter")?["on_trial"].is_number().then_some(()));
    }

    fn worker(&self, kind: &str) -> Value {
        workers(&self.host.topology(), kind).next().cloned().unwrap()
    }

    fn ends_without_a_lost_job(mut self) {
        for name in ["refused", "lost"] {
            let series = format!(r#"mshost_plugin_value{{name="{name}",service="worker-CS"}}"#);
            assert_eq!(self.metric(&series), 0, "{name}\n{}", self.host.log_text());
        }
        assert!(self.host.stop().success(), "{}", self.host.log_text());
    }
}

fn text(canary: &str, instances: u32, isolation: &str) -> String {
    format!(
        r#"[host]
admin = "127.0.0.1:0"
debounce = "20ms"
canary = {canary}

[[worker]]
type = "CS"
plugin = "source"
[worker.config]
to = "CP:*"
pause_ms = 2
senders = 4

[[worker]]
type = "CP"
plugin = "counter"
instances = {instances}
isolation = "{isolation}"
concurrency = 8
retry = {{ delay = "5ms", max_attempts = 1000 }}

[[worker]]
type = "CA"
plugin = "counter"
"#
    )
}

#[test]
fn a_version_whose_jobs_fail_is_given_up_and_not_tried_again_until_its_file_changes() {
    let setup = CanarySetup::new(r#"{ share = 0.3, for = "5m", min_jobs = 10, tolerance = 0.2 }"#, "000");
    let before = setup.worker("CP");
    setup.replace("100");
    setup.until_ended("given_up", 1);
    setup
        .host
        .until_log(&["the new version was given up on trial: of CP, ", "attempts failed, and of the version before"]);
    let error = setup.host.until_topology("the error", |topology| {
        let plugin = plugin(topology, "counter")?;
        let error = plugin["last_error"]["message"].as_str()?.to_owned();
        (plugin["on_trial"].is_null() && plugin["generation"] == before["generation"]).then_some(error)
    });
    assert!(error.contains("given up on trial"), "{error}");
    let after = setup.worker("CP");
    assert_eq!((&after["id"], &after["state"]), (&before["id"], &before["state"]), "{after:#}");
    assert!(after["last_error"]["message"].as_str().unwrap().contains("given up on trial"), "{after:#}");
    assert_eq!(setup.host.ask("/readyz").status, 200);
    // Its file is still there, and no look at it tries it again; what is new runs what is proven.
    mshost_tests::http_request::post(setup.host.admin(), "/api/reload", "").unwrap();
    setup.host.site.topology(&text(setup.canary, 2, setup.isolation));
    setup.host.until_running("CP", 2);
    for worker in workers(&setup.host.topology(), "CP") {
        assert_eq!(worker["generation"], before["generation"], "{worker:#}");
    }
    let seen = setup.seen("100");
    setup.until_seen("000", 50);
    assert_eq!((setup.seen("100"), setup.ended("given_up")), (seen, 1));
    setup.host.until_log(&["unloaded", "counter"]);
    setup.replace("099");
    setup.until_ended("given_up", 2);
    setup.ends_without_a_lost_job();
}

#[test]
fn a_good_version_gets_its_share_and_then_everything() {
    for isolation in ["thread", "process"] {
        is_accepted_after_its_share(isolation);
    }
}

fn is_accepted_after_its_share(isolation: &'static str) {
    let canary = r#"{ share = 0.25, for = "3s", min_jobs = 5, tolerance = 0.2 }"#;
    let setup = CanarySetup::isolated(canary, "000", isolation);
    let before = [setup.worker("CP"), setup.worker("CA")];
    setup.replace("001");
    setup.until_on_trial();
    setup.until_seen("001", 1);
    // Of workers with state there is one at a time.
    let during = [setup.worker("CP"), setup.worker("CA")];
    assert_eq!(during.map(|worker| worker["id"].clone()), before.each_ref().map(|worker| worker["id"].clone()));
    setup.until_ended("accepted", 1);
    let line = setup.host.until_log(&["accepted: CP: "]);
    let numbers: Vec<u64> = line
        .split_once("CP: ")
        .unwrap()
        .1
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    let [_, new, _, old] = numbers[..4] else { panic!("{line}") };
    // The eight of a full hand may be counted late.
    assert!(new > 0 && new as f64 <= 0.25 * (new + old) as f64 + 9.0, "{line}");
    setup.host.until_topology("the new version everywhere", |topology| {
        let generation = &plugin(topology, "counter")?["generation"];
        let is_new = |kind: &str| workers(topology, kind).all(|worker| worker["generation"] == *generation);
        (*generation != before[0]["generation"] && is_new("CP") && is_new("CA")).then_some(())
    });
    setup.until_seen("001", 50);
    setup.host.until_log(&["unloaded", "counter"]);
    setup.ends_without_a_lost_job();
}

#[test]
fn jobs_that_fail_with_both_versions_give_up_neither() {
    let setup = CanarySetup::new(r#"{ share = 0.5, for = "3s", min_jobs = 10, tolerance = 0.3 }"#, "050");
    setup.replace("051");
    setup.until_ended("accepted", 1);
    setup.until_seen("051", 20);
    assert_eq!(setup.ended("given_up"), 0);
    setup.ends_without_a_lost_job();
}

#[test]
fn a_version_that_does_not_start_is_given_up_at_once() {
    let setup = CanarySetup::new(r#"{ share = 0.1, for = "5m" }"#, "000");
    let before = setup.worker("CP");
    setup.replace("bad");
    setup.until_ended("given_up", 1);
    setup.host.until_log(&["given up on trial", "did not start", "told not to start"]);
    assert_eq!(setup.worker("CP")["id"], before["id"]);
    setup.until_seen("000", 20);
    setup.ends_without_a_lost_job();
}

#[test]
fn a_version_that_dies_on_trial_is_given_up_at_once() {
    for isolation in ["thread", "process"] {
        let setup = CanarySetup::isolated(r#"{ share = 0.3, for = "5m", min_jobs = 1000000 }"#, "000", isolation);
        let before = setup.worker("CP");
        setup.replace("die");
        setup.until_ended("given_up", 1);
        setup.host.until_log(&["given up on trial", "told to die"]);
        assert_eq!(setup.worker("CP")["id"], before["id"]);
        setup.until_seen("000", 20);
        setup.ends_without_a_lost_job();
    }
}

#[test]
fn a_newer_version_takes_the_place_of_one_on_trial() {
    let setup = CanarySetup::new(r#"{ share = 0.3, for = "5m", min_jobs = 10, tolerance = 0.2 }"#, "000");
    let before = setup.worker("CP");
    setup.replace("001");
    setup.until_seen("001", 1);
    setup.replace("100");
    setup.until_ended("given_up", 1);
    // Back to the one that was proven, not to the one that was on trial.
    setup.host.until_topology("the first version", |topology| {
        (plugin(topology, "counter")?["generation"] == before["generation"]).then_some(())
    });
    assert_eq!(setup.worker("CP")["id"], before["id"]);
    setup.ends_without_a_lost_job();
}
