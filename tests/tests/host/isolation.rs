//! `isolation = "process"`: whatever a plugin does to its process, nobody else notices, and nothing of it stays.

use std::collections::BTreeSet;

use mshost_tests::broker::Broker;
use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, plugin, workers};
use mshost_tests::http_request::get;
use mshost_tests::load::HttpLoad;
use mshost_tests::movie_example::{self, MovieTopology};
use mshost_tests::wait::until;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// What ends a process: the worker type that it happens to, the job, lines of its `[[worker]]`, and what the log says of it.
const DEATHS: [(&str, &str, &str, &[&str]); 8] = [
    ("CA", "segfault", "", &["its process was killed by signal 11 (SIGSEGV)"]),
    ("CB", "abort", "", &["its process was killed by signal 6 (SIGABRT)"]),
    ("CC", "overflow", "", &["its process was killed by signal"]),
    ("CD", "spin", "timeout = \"1s\"", &["did nothing else for 6 s", "endless loop"]),
    (
        "CE",
        "hoard",
        "limits = { memory = \"256MiB\" }",
        &["out of memory (`limits.memory` = 256MiB)", "memory allocation of"],
    ),
    ("CF", "exit", "", &["its process ended by itself, with exit status 0"]),
    ("CG", "double_free", "", &["its process was killed by signal 6 (SIGABRT)"]),
    ("CH", "compute", "limits = { cpu_time = \"1s\" }", &["at its limit of 1s of CPU time (`limits.cpu_time`)"]),
];

fn topology(bus: &str, limit: u32, first: &str, rest: &str) -> String {
    format!(
        r#"
[host]
admin = "127.0.0.1:0"
debounce = "50ms"
[bus]
url = "{bus}"
delivery_limit = {limit}
[[worker]]
type = "DR"
plugin = "crash"
isolation = "process"
[worker.config]
first = [{first}]
well = 3
{rest}
"#
    )
}

fn isolated(worker_type: &str, lines: &str) -> String {
    format!("[[worker]]\ntype = \"{worker_type}\"\nplugin = \"crash\"\nisolation = \"process\"\n{lines}\n")
}

fn start(topology: &str) -> HostProcess {
    let site = HostSite::new();
    site.plugin_bytes("libcrash.so", &std::fs::read(fixtures::fixture("crash")).unwrap());
    site.topology(topology);
    HostProcess::start(site, &[])
}

/// The processes of all isolated workers.
fn pids(topology: &Value) -> BTreeSet<i32> {
    let all = topology["workers"].as_array().expect("workers").iter();
    all.filter_map(|worker| i32::try_from(worker["process"]["pid"].as_i64()?).ok()).collect()
}

/// Gone, or a dead one that nobody has taken off the kernel's list yet.
fn is_gone(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    status.map_or(true, |status| status.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])))
}

#[track_caller]
fn until_gone(pids: &BTreeSet<i32>) {
    until("the processes to be gone", LIMIT, || pids.iter().all(|pid| is_gone(*pid)).then_some(()));
}

fn every_death(bus: &str) {
    let first: Vec<_> = DEATHS.iter().map(|(kind, way, ..)| format!("[\"{kind}\", \"{way}\"]")).collect();
    let rest: String = DEATHS.iter().map(|(kind, _, lines, _)| isolated(kind, lines)).collect();
    let mut host = start(&topology(bus, 2, &first.join(", "), &rest));
    let pid = host.pid();
    for (kind, way, _, words) in DEATHS {
        let slot = format!("{kind}[0]");
        for word in words {
            host.until_log(&[&slot, word]);
        }
        // Its other jobs are done by the next process.
        host.until_log(&[&format!("all is well at {kind}")]);
        assert_eq!(host.pid(), pid, "{way}");
    }
    // `compute` returns: its process dies later, of what it left behind.
    let deadly = DEATHS.len() - 1;
    host.until_topology("the dead letters", |topology| (topology["bus"]["dead_letters"] == deadly).then_some(()));
    let topology = host.topology();
    assert!(plugin(&topology, "crash").is_some());
    let metrics = host.ask("/metrics").body;
    for (kind, cause) in [("CA", "signal"), ("CD", "stuck"), ("CE", "memory"), ("CF", "exit"), ("CH", "cpu_time")] {
        let line = format!("mshost_process_deaths_total{{cause=\"{cause}\",worker_type=\"{kind}\"}}");
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
    let children = pids(&topology);
    assert!(host.stop().success(), "{}", host.log_text());
    until_gone(&children);
}

#[test]
fn whatever_ends_a_process_the_others_go_on() {
    every_death("embedded");
}

#[test]
fn whatever_ends_a_process_the_others_go_on_over_rabbitmq() {
    every_death(&Broker::shared().url_of("isolation"));
}

/// By the default limits the job goes before the worker does.
#[test]
fn a_job_that_kills_is_given_up_before_its_worker_is_parked() {
    let worker = isolated("CA", "restart = { delay = \"1ms\", max_delay = \"1ms\" }");
    let text = topology("embedded", 2, "[\"CA\", \"abort\"]", &worker).replace("delivery_limit = 2\n", "");
    let mut host = start(&text);
    host.until_topology("the dead letter", |topology| (topology["bus"]["dead_letters"] == 1).then_some(()));
    host.until_log(&["all is well at CA"]);
    host.until_running("CA", 1);
    assert!(host.stop().success(), "{}", host.log_text());
}

#[test]
fn the_host_does_not_load_what_only_processes_run() {
    let mut host =
        start(&topology("embedded", 1, "[\"CA\", \"well\"]", &isolated("CA", "limits = { open_files = 64 }")));
    host.until_running("CA", 1);
    host.until_log(&["all is well at CA"]);
    let maps = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    assert!(!maps(&host.pid().to_string()).contains("crash"), "the host has loaded the plugin");
    let topology = host.topology();
    let worker = workers(&topology, "CA").next().unwrap().clone();
    let pid = worker["process"]["pid"].to_string();
    assert!(maps(&pid).contains("crash"));
    assert_eq!(worker["process"]["limits"][0], "open_files 64 (RLIMIT_NOFILE)");
    // Nor can a program that it starts get more rights than it has.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    // Nothing of the host's is open in it: standard ones, the socket, and what its own runtimes need.
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let foreign: Vec<_> = open
        .filter(|target| target.to_string_lossy().contains("topology") || target.starts_with(host.site.path()))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(host.stop().success(), "{}", host.log_text());
}

#[test]
fn a_host_that_is_killed_leaves_no_orphan() {
    let rest = [isolated("CA", ""), isolated("CB", "timeout = \"1h\"")].concat();
    let mut host = start(&topology("embedded", 1, "[\"CA\", \"well\"], [\"CB\", \"spin\"]", &rest));
    host.until_log(&["all is well at CA"]);
    let children = host.until_topology("a job that does not end", |topology| {
        let busy = workers(topology, "CB").any(|worker| worker["in_flight"].as_u64() > Some(0));
        (busy && pids(topology).len() == 3).then(|| pids(topology))
    });
    host.kill();
    until_gone(&children);
    // The next begins anew.
    host.restart(&[]);
    host.until_log(&["all is well at CA"]);
    let next = host.until_topology("its own processes", |topology| (pids(topology).len() == 3).then(|| pids(topology)));
    assert!(next.is_disjoint(&children));
    host.kill();
    until_gone(&next);
}

#[test]
fn what_a_terminal_sends_to_all_ends_the_host_in_order() {
    let mut host = start(&topology("embedded", 1, "[\"CA\", \"well\"]", &isolated("CA", "")));
    host.until_log(&["all is well at CA"]);
    let children = pids(&host.topology());
    let group = Pid::from_raw(i32::try_from(host.pid()).unwrap());
    killpg(group, Signal::SIGINT).unwrap();
    assert!(host.until_ended().success(), "{}", host.log_text());
    assert!(!host.log_text().contains("killed by"), "{}", host.log_text());
    until_gone(&children);
}

#[test]
fn the_example_works_with_each_plugin_in_a_process_of_its_own() {
    let isolate = |text: String| text.replace("[[worker]]\n", "[[worker]]\nisolation = \"process\"\n");
    let (mut host, _) = movie_example::serve(&MovieTopology::default(), &[]);
    host.site.topology(&isolate(MovieTopology::default().text()));
    // From threads to processes while it serves.
    let children =
        host.until_topology("processes for all", |topology| (pids(topology).len() == 3).then(|| pids(topology)));
    let rest = host.http("WA");
    assert!(get(rest, "/movies/").unwrap().head.starts_with("HTTP/1.1 200"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let load = runtime.block_on(async { HttpLoad::new(rest, "/movies/", 32).start() });
    for number in 1..=3_u32 {
        host.site.plugin_bytes("libpilot.so", &movie_example::pilot(&format!("v{number:07}")));
        until("the new pilot", LIMIT, || {
            let answer = get(rest, "/movies/").ok()?;
            answer.head.contains(&format!("v{number:07}")).then_some(())
        });
    }
    let report = runtime.block_on(load.stop());
    assert_eq!(report.failure_count, 0, "{report}\n{}", host.log_text());
    assert!(report.successes > 100, "{report}");
    // And back.
    host.site.topology(&MovieTopology::default().text());
    host.until_topology("threads for all", |topology| pids(topology).is_empty().then_some(()));
    host.until_running("WD", 1);
    assert!(get(host.http("WA"), "/movies/").unwrap().head.starts_with("HTTP/1.1 200"));
    until_gone(&children);
    assert!(host.stop().success(), "{}", host.log_text());
}

/// What each worker does, and whether its sandbox is to allow that.
#[test]
fn a_sandbox_allows_what_it_lists_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    std::fs::create_dir(&inside).unwrap();
    let listening = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [open, closed] = listening.each_ref().map(|socket| socket.local_addr().unwrap().port());
    let ways = [
        ("CA", format!("{{ write = {:?} }}", inside.join("file")), true),
        ("CB", format!("{{ write = {outside:?} }}"), false),
        ("CC", format!("{{ connect = {open} }}"), true),
        ("CD", format!("{{ connect = {closed} }}"), false),
        // In use, which it finds out where it may try.
        ("CE", format!("{{ bind = {closed} }}"), false),
        ("CF", "\"signal\"".to_owned(), false),
        ("CG", "{ write = \"/dev/null\" }".to_owned(), true),
    ];
    let first: Vec<_> = ways.iter().map(|(kind, way, _)| format!("[\"{kind}\", {way}]")).collect();
    let sandbox = format!("sandbox = {{ write = [{inside:?}], connect = [{open}] }}");
    let rest: String = ways.iter().map(|(kind, ..)| isolated(kind, &sandbox)).collect();
    let mut host = start(&topology("embedded", 2, &first.join(", "), &rest).replace("well = 3", "well = 0"));
    let refused = "`sandbox` cannot be kept";
    let can = until("the first worker", LIMIT, || {
        let log = host.log_text();
        (log.contains("all is well at CA") || log.contains(refused)).then(|| !log.contains(refused))
    });
    if !can {
        // A kernel that is too old: nobody runs unprotected.
        host.until_topology("all of them down", |topology| {
            let down = |kind: &str| workers(topology, kind).all(|worker| worker["state"] != "running");
            ways.iter().all(|(kind, ..)| down(kind)).then_some(())
        });
        return;
    }
    for (kind, way, may) in ways {
        if may {
            host.until_log(&[&format!("all is well at {kind}")]);
        } else {
            let heard = host.until_log(&[&format!("heard of {kind}:")]);
            assert!(heard.contains("Permission denied") || heard.contains("Operation not permitted"), "{way}: {heard}");
        }
    }
    assert!(!outside.exists() && inside.join("file").exists());
    let limits = workers(&host.topology(), "CA").next().unwrap()["process"]["limits"].to_string();
    assert!(limits.contains(&format!("connects to TCP [{open}]")) && limits.contains("Landlock"), "{limits}");
    // A folder that is not there is told of.
    let text = topology("embedded", 2, "", &isolated("CA", "sandbox = { write = [\"/not/there\"] }"));
    host.site.topology(&text);
    host.until_log(&["`sandbox` cannot be kept: /not/there in `write`: No such file or directory"]);
    assert!(host.stop().success(), "{}", host.log_text());
}
