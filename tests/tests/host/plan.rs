//! What a reload would change, asked before anything does.

use std::process::{Command, Output, Stdio};

use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, workers};
use mshost_tests::http_request::{HttpAnswer, get, post};
use mshost_tests::movie_example::{self, MovieTopology};
use mshost_tests::wait::until;
use serde_json::{Value, json};

/// What `mshost plan` says.
struct PlanOutput {
    code: Option<i32>,
    out: String,
    err: String,
}

impl PlanOutput {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

fn plan(site: &HostSite, args: &[&str]) -> PlanOutput {
    let mut command = Command::new(fixtures::mshost_binary());
    command.arg("plan").args(args).current_dir(site.path());
    command.env_remove("BROKER_URL").env_remove("RUST_LOG").env_remove("MSHOST_TOPOLOGY").stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    PlanOutput { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// Each change as `swap WB[0]`, in order.
fn changes(report: &Value) -> Vec<String> {
    let all = report["changes"].as_array().unwrap().iter();
    all.map(|change| format!("{} {}", change["action"].as_str().unwrap(), change["slot"].as_str().unwrap())).collect()
}

fn of_plugin<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    report["plugins"].as_array().unwrap().iter().find(|plugin| plugin["name"] == name)
}

fn dry_run(host: &HostProcess, body: &str) -> HttpAnswer {
    post(host.admin(), "/api/reload?dry_run=1", body).unwrap()
}

/// What would have to stay the same for a preview to have changed nothing.
fn state(host: &HostProcess) -> (Value, Vec<Value>, u64) {
    let topology = host.topology();
    let ids = topology["workers"].as_array().unwrap().iter().map(|worker| worker["id"].clone()).collect();
    let reloads = host.ask("/metrics").body.lines().filter(|line| line.starts_with("mshost_reloads_total")).count();
    (topology["topology"]["revision"].clone(), ids, reloads as u64)
}

/// The example without a debounce that anybody would wait for: files count when a reload is asked for.
fn quiet() -> (HostProcess, std::net::SocketAddr) {
    let topology = MovieTopology::default();
    let site = HostSite::new();
    for name in ["rest", "pilot", "db"] {
        site.plugin(&fixtures::example(name));
    }
    site.topology(&text(&topology));
    let host = HostProcess::start(site, &[]);
    ["WA", "WB", "WD"].into_iter().for_each(|kind| host.until_running(kind, 1));
    let rest = host.http("WA");
    (host, rest)
}

fn text(topology: &MovieTopology) -> String {
    topology.text().replace("debounce = \"50ms\"", "debounce = \"1h\"")
}

#[test]
fn a_plan_says_what_a_reload_then_does() {
    let (host, rest) = quiet();
    let admin = host.admin().to_string();
    let said = plan(&host.site, &["--admin", &admin]);
    assert_eq!((said.code, said.out.contains("nothing to change")), (Some(0), true), "{}\n{}", said.out, said.err);

    // One file is edited, another not in its place yet; a plugin has another version.
    let newer = MovieTopology { pilots: 3, pilot_lines: "timeout = \"7s\"".to_owned(), ..MovieTopology::default() };
    let newer = text(&newer).replace("path = \"movies.db\"", "path = \"secret.db\"");
    let newer = format!("{newer}\n[[worker]]\ntype = \"WX\"\nplugin = \"nowhere\"\n");
    std::fs::write(host.site.path().join("new.toml"), &newer).unwrap();
    host.site.plugin_bytes("librest.so", &std::fs::read(fixtures::example("pilot")).unwrap());
    let before = state(&host);
    let said = plan(&host.site, &["new.toml", "--admin", &admin, "--json"]);
    assert_eq!(said.code, Some(1), "the rest plugin's new file has no WA: {}\n{}", said.out, said.err);
    assert!(said.json()["errors"][0].as_str().unwrap().contains("has no worker of type `WA`"), "{}", said.out);
    host.site.plugin(&fixtures::example("rest"));
    host.site.plugin_bytes("libpilot.so", &movie_example::pilot("v0000001"));
    let said = plan(&host.site, &["new.toml", "--admin", &admin, "--json"]);
    assert_eq!(said.code, Some(2), "{}\n{}", said.out, said.err);
    let report = said.json();
    let expected = ["swap WB[0]", "swap WD[0]", "start WD[1]", "start WD[2]", "wait WX[0]"];
    assert_eq!(changes(&report), expected, "{report:#}");
    let reasons = |slot: &str| {
        let all = report["changes"].as_array().unwrap();
        all.iter().find(|change| change["slot"] == slot).unwrap()["reasons"].clone()
    };
    assert_eq!(reasons("WB[0]"), json!(["config"]));
    assert_eq!(reasons("WD[0]"), json!(["another version of its plugin", "timeout 30s → 7s"]));
    assert_eq!(reasons("WD[1]"), json!(["instances 1 → 3"]));
    assert_eq!(of_plugin(&report, "pilot").unwrap()["action"], "swap");
    assert_eq!(of_plugin(&report, "nowhere").unwrap()["action"], "missing");
    assert!(!said.out.contains("secret.db"), "{}", said.out);
    let shown = plan(&host.site, &["new.toml", "--admin", &admin]);
    assert!(shown.out.contains("swap     worker WD[0]"), "{}", shown.out);
    assert_eq!(state(&host), before, "a plan changes nothing");

    // In its place, the same file is what a reload applies.
    host.site.topology(&newer);
    let asked: Value = dry_run(&host, "").json();
    assert_eq!(asked, report);
    let done = post(host.admin(), "/api/reload", "").unwrap();
    assert_eq!(done.status, 200, "{done:?}");
    let done = done.json();
    assert_eq!((&done["applied"], &done["changes"]), (&json!(true), &report["changes"]));
    assert_eq!(done["plugins"], report["plugins"]);
    host.until_running("WD", 3);
    assert_eq!(get(rest, "/movies/").unwrap().status, 200);
    assert_eq!(plan(&host.site, &["--admin", &admin]).code, Some(0));
}

#[test]
fn a_worker_that_does_not_run_is_restarted_and_what_needs_a_restart_of_the_host_is_said() {
    let echo = |start: &str, host: &str| {
        format!(
            "[host]\nadmin = \"127.0.0.1:0\"\ndebounce = \"1h\"\n{host}\n[[worker]]\ntype = \"EC\"\n\
             plugin = \"mshost_fixture_echo\"\n[worker.config]\nstart = \"{start}\"\n"
        )
    };
    let site = HostSite::new();
    site.plugin(&fixtures::fixture("echo"));
    site.topology(&echo("fail", ""));
    let host = HostProcess::start(site, &[]);
    host.until_topology("a worker that fails", |topology| {
        workers(topology, "EC").any(|worker| worker["state"] == "backoff").then_some(())
    });
    let answer = dry_run(&host, &echo("well", "state = \"elsewhere\""));
    assert_eq!(answer.status, 200, "{answer:?}");
    let report = answer.json();
    assert_eq!(changes(&report), ["restart EC[0]"], "{report:#}");
    assert_eq!(report["settings"], json!([{"setting": "[host] state", "takes_effect": "restart"}]));
    host.site.topology(&echo("well", ""));
    assert_eq!(changes(&post(host.admin(), "/api/reload", "").unwrap().json()), ["restart EC[0]"]);
    host.until_running("EC", 1);
}

#[test]
fn errors_are_said_with_their_place_and_change_nothing() {
    let (host, _) = quiet();
    let before = state(&host);
    let broken = text(&MovieTopology::default()).replace("concurrency = 4", "concurrency = \"no\"");
    let line = 1 + broken.lines().position(|line| line == "concurrency = \"no\"").unwrap();
    let answer = dry_run(&host, &broken);
    let place = format!("topology.toml:{line}:15: error: ");
    let first = answer.json()["errors"][0].as_str().unwrap().to_owned();
    assert_eq!((answer.status, first.starts_with(&place)), (422, true), "{answer:?}");
    assert_eq!(dry_run(&host, " \n").status, 422, "an empty topology is no topology");
    std::fs::write(host.site.path().join("new.toml"), &broken).unwrap();
    let said = plan(&host.site, &["new.toml"]);
    assert_eq!((said.code, said.err.contains(&format!("new.toml:{line}:15"))), (Some(1), true), "{}", said.err);
    host.site.topology(&broken);
    let answer = post(host.admin(), "/api/reload", "").unwrap();
    assert_eq!((answer.status, changes(&answer.json())), (422, Vec::new()), "{answer:?}");
    let (_, ids, _) = state(&host);
    assert_eq!(ids, before.1);
    for args in [&["--admin", "127.0.0.1:1"][..], &["nowhere.toml"], &["--no-such-option"]] {
        let said = plan(&host.site, args);
        assert_eq!((said.code, said.out.as_str(), said.err.is_empty()), (Some(1), "", false), "{args:?}: {}", said.err);
    }
}

#[test]
fn without_a_host_everything_starts() {
    let site = HostSite::new();
    site.plugin(&fixtures::example("pilot"));
    site.topology(&MovieTopology { pilots: 2, ..MovieTopology::default() }.text());
    let said = plan(&site, &["--json"]);
    assert_eq!((said.code, said.err.contains("compared with nothing running")), (Some(2), true), "{}", said.err);
    let report = said.json();
    assert_eq!(report["host"], Value::Null);
    assert_eq!(changes(&report), ["wait WA[0]", "wait WB[0]", "start WD[0]", "start WD[1]"], "{report:#}");
    assert!(!site.path().join("state").exists(), "a plan leaves nothing behind");
}

#[test]
fn a_plugin_whose_file_is_gone_is_said_wherever_somebody_looks() {
    let (host, rest) = quiet();
    let file = host.site.path().join("plugins/libpilot.so");
    std::fs::remove_file(&file).unwrap();
    let report = dry_run(&host, "").json();
    let gone = of_plugin(&report, "pilot").unwrap();
    assert_eq!((&gone["action"], changes(&report)), (&json!("file_gone"), Vec::new()), "{report:#}");
    assert!(gone["reason"].as_str().unwrap().contains("a restart of the host would miss it"), "{gone}");
    post(host.admin(), "/api/reload", "").unwrap();
    host.until_log(&["pilot", "the file is gone", "a restart of the host would miss it"]);
    host.until_topology("the state of the pilot", |topology| {
        (mshost_tests::host_process::plugin(topology, "pilot")?["state"] == "file_gone").then_some(())
    });
    assert!(host.ask("/metrics").body.contains("mshost_plugin_file_gone{plugin=\"pilot\"} 1"));
    let ready = host.ask("/readyz");
    assert_eq!((ready.status, ready.json()["warnings"].to_string().contains("pilot")), (200, true), "{ready:?}");
    let said = plan(&host.site, &["--admin", &host.admin().to_string()]);
    assert_eq!((said.code, said.out.contains("file gone  plugin pilot")), (Some(0), true), "{}", said.out);
    assert_eq!(get(rest, "/movies/").unwrap().status, 200, "its workers go on");

    host.site.plugin(&fixtures::example("pilot"));
    until("the metric to be gone", LIMIT, || {
        post(host.admin(), "/api/reload", "").unwrap();
        (!host.ask("/metrics").body.contains("mshost_plugin_file_gone{")).then_some(())
    });
    assert_eq!(of_plugin(&dry_run(&host, "").json(), "pilot"), None);
}

#[test]
fn settings_of_the_host_and_its_manager_are_followed_and_disturb_no_worker() {
    let (mut host, rest) = quiet();
    let before = state(&host);
    let elsewhere = host.site.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for name in ["librest.so", "libpilot.so", "libdb.so"] {
        std::fs::rename(host.site.path().join("plugins").join(name), elsewhere.join(name)).unwrap();
    }
    let newer = MovieTopology::default().text().replace(
        "debounce = \"50ms\"",
        "debounce = \"50ms\"\nplugins = \"elsewhere\"\nwatch = \"poll\"\nshutdown_timeout = \"20s\"\nplugin_threads = 2",
    );
    let newer = format!("{newer}\n[manager]\nkeepalive = \"200ms\"\nmax_workers = 9\n");
    let asked = |name: &str| json!({"setting": name, "takes_effect": "now"});
    let expected = [
        asked("[host] plugins"),
        asked("[host] debounce"),
        json!({"setting": "[host] plugin_threads", "takes_effect": "restart"}),
        asked("[host] shutdown_timeout"),
        asked("[host] watch"),
        asked("[manager] keepalive"),
        asked("[manager] expire_after"),
        asked("[manager] max_workers"),
    ];
    assert_eq!(dry_run(&host, &newer).json()["settings"], json!(expected));
    host.site.topology(&newer);
    let done = post(host.admin(), "/api/reload", "").unwrap().json();
    assert_eq!((&done["settings"], changes(&done)), (&json!(expected), Vec::new()), "{done:#}");
    assert_eq!(done["plugins"], json!([]), "the files are there, in another folder");
    assert_eq!(state(&host).1, before.1, "the workers are the same");
    let report = dry_run(&host, "").json();
    assert_eq!(report["settings"].as_array().unwrap().len(), 1, "{report:#}");
    // The manager asks as often as it is told to, and files are looked at where they are now, as often.
    let asked = |host: &HostProcess| {
        let metrics = host.ask("/metrics").body;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("microservices_messages_sent_total{service=\"system-manager\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    let so_far = asked(&host);
    until("three questions", LIMIT, || (asked(&host) >= so_far + 3).then_some(()));
    std::fs::write(elsewhere.join("libpilot.so"), movie_example::pilot("v0000001")).unwrap();
    until("the new pilot", LIMIT, || get(rest, "/movies/").ok()?.head.contains("v0000001").then_some(()));
    assert!(host.stop().success(), "{}", host.log_text());
}
