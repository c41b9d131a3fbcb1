//! Every kind of bad plugin on a host that serves under load, and for each the lines that its user sees.
//!
//! The lines are in `refused.txt` and `panics.txt` next to this; `SNAPSHOTS=overwrite cargo test --test host bad_plugins`
//! writes them anew. A new case is one line in [`cases`] (a file that is refused) or a worker of
//! `tests/fixtures/entry-point-panics` (code that panics). What ends a whole process is tested by `isolation`.

mod cases;
mod log_line;
mod patched_elf;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use cases::cases;
use log_line::normal;
use mshost_tests::fixtures::{example, with_mode};
use mshost_tests::heavy::{self, Turn};
use mshost_tests::host_process::{HostProcess, LIMIT, plugin, workers};
use mshost_tests::load::{HttpLoad, RunningLoad};
use mshost_tests::movie_example::{self, MovieTopology};
use mshost_tests::wait::until;
use snapbox::{assert_data_eq, file};
use tokio::runtime::Runtime;

/// The connections that ask all the time.
const CONNECTIONS: usize = 8;

/// The workers of `entry-point-panics`, each of which panics in the entry point that it is named after.
const PANICKING: [&str; 14] = [
    "START",
    "HANDLE",
    "TASK",
    "THREAD",
    "ON_ERROR",
    "DRAIN",
    "STOP",
    "DROP",
    "B_START",
    "B_HANDLE",
    "B_THREAD",
    "B_ON_ERROR",
    "B_STOP",
    "B_DROP",
];

/// The movie service under load.
struct LoadedService {
    host: HostProcess,
    runtime: Runtime,
    load: RunningLoad,
    _turn: Turn,
}

impl LoadedService {
    fn open() -> Self {
        let turn = heavy::turn();
        let (host, rest) = movie_example::serve(&MovieTopology::default(), &[]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let load = runtime.block_on(async { HttpLoad::new(rest, "/movies/", CONNECTIONS).start() });
        Self { host, runtime, load, _turn: turn }
    }

    fn plugins(&self) -> PathBuf {
        self.host.site.path().join("plugins")
    }

    /// The movie service and more workers.
    fn add_workers(&self, workers: impl IntoIterator<Item = (String, String)>) {
        let mut text = MovieTopology::default().text();
        for (worker_type, plugin) in workers {
            let retry = "retry = { delay = \"10ms\", max_attempts = 2 }";
            // Never parked: how often a worker panics before it is replaced depends on the machine.
            let restart = "restart = { max_restarts = \"off\" }";
            write!(text, "[[worker]]\ntype = \"{worker_type}\"\nplugin = \"{plugin}\"\n{retry}\n{restart}\n").unwrap();
        }
        self.host.site.topology(&text);
    }

    /// The sum of the series of a metric with all of these labels.
    fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let metrics = self.host.ask("/metrics").body;
        let series = metrics.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
    }

    /// The host ends well, and no request has failed.
    fn close(self) -> Vec<String> {
        let Self { mut host, runtime, load, .. } = self;
        runtime.block_on(load.stop()).assert_flawless();
        assert!(host.stop().success(), "{}", host.log_text());
        host.log()
    }
}

#[test]
fn each_bad_file_is_one_line_that_helps_and_a_good_one_in_its_place_works() {
    let service = LoadedService::open();
    let cases = cases();
    service.add_workers(cases.iter().map(|case| ("WD".to_owned(), case.name.to_owned())));
    for case in &cases {
        service.host.until_topology(case.name, |topology| one_worker(topology, case.name, "pending").then_some(()));
    }
    let failed_before = service.metric("mshost_reloads_total", &["kind=\"plugin\"", "outcome=\"failed\""]);

    for case in &cases {
        case.put(&service.plugins());
    }
    let mut shown_to_user = String::new();
    for case in &cases {
        let message = service.host.until_topology(&format!("an error for {}", case.name), |topology| {
            plugin(topology, case.name)?["last_error"]["message"].as_str().map(str::to_owned)
        });
        assert!(one_worker(&service.host.topology(), case.name, "pending"), "{}: its worker waits", case.name);
        let shown = format!("plugin: {message} plugin={}", case.name);
        let lines = service.host.log().into_iter().filter(|line| line.ends_with(&shown)).collect::<Vec<_>>();
        assert_eq!(lines.len(), 1, "{shown}\n{}", service.host.log_text());
        writeln!(shown_to_user, "{}", normal(&lines[0], service.host.site.path())).unwrap();
    }
    assert_data_eq!(shown_to_user, file!["refused.txt"]);

    let mut kinds = BTreeMap::<_, u64>::new();
    cases.iter().for_each(|case| *kinds.entry(case.kind).or_default() += 1);
    let counted: BTreeMap<_, _> = kinds
        .keys()
        .map(|kind| {
            (*kind, service.metric("mshost_malformed_total", &["source=\"plugin\"", &format!("kind=\"{kind}\"")]))
        })
        .collect();
    assert_eq!(counted, kinds);
    let failed = service.metric("mshost_reloads_total", &["kind=\"plugin\"", "outcome=\"failed\""]) - failed_before;
    assert_eq!(failed, cases.len() as u64);
    assert_eq!(
        std::fs::read_dir(service.host.site.path().join("state/shadow")).map_or(0, Iterator::count),
        0,
        "copies stay"
    );

    for case in &cases {
        case.replace_by_good(&service.plugins(), &example("pilot"));
    }
    for case in &cases {
        service.host.until_topology(&format!("a good {} that serves", case.name), |topology| {
            let worker = workers(topology, "WD").find(|worker| worker["plugin"] == case.name)?;
            let mended = plugin(topology, case.name)?["last_error"].is_null();
            (mended && worker["done"].as_u64()? > 0).then_some(())
        });
    }
    service.close();
}

/// Whether a plugin has one worker, in this state.
fn one_worker(topology: &serde_json::Value, plugin: &str, state: &str) -> bool {
    let states: Vec<_> = workers(topology, "WD").filter(|worker| worker["plugin"] == plugin).collect();
    matches!(&states[..], [worker] if worker["state"] == state)
}

#[test]
fn a_second_file_of_one_name_is_told_while_it_is_there_and_no_longer() {
    let service = LoadedService::open();
    let namesake = service.plugins().join("pilot.so");
    std::fs::write(&namesake, b"no plugin").unwrap();
    let error = |topology: &serde_json::Value| plugin(topology, "pilot").unwrap()["last_error"]["message"].clone();
    service.host.until_topology("the second file to be told", |topology| {
        error(topology).as_str()?.contains("are both the plugin `pilot`").then_some(())
    });
    assert_eq!(service.host.ask("/readyz").status, 200);
    std::fs::remove_file(namesake).unwrap();
    service.host.until_topology("the second file to be forgotten", |topology| error(topology).is_null().then_some(()));
    service.close();
}

#[test]
fn a_panic_in_any_entry_point_is_told_and_costs_no_other_worker_anything() {
    let service = LoadedService::open();
    let put = |name: &str, mode: &str| {
        service.host.site.plugin_bytes(&format!("lib{name}.so"), &with_mode("entry-point-panics", mode))
    };
    put("panicking", "panics");
    put("leaky", "panics");
    let workers = PANICKING.iter().map(|worker_type| (*worker_type, "panicking")).chain([("LEAK", "leaky")]);
    service.add_workers(workers.map(|(worker_type, plugin)| (worker_type.to_owned(), plugin.to_owned())));
    // Those that handle a job before they panic; of the others the log tells when they have panicked.
    let handle_first = ["DRAIN", "STOP", "DROP", "B_STOP", "B_DROP"];
    let handled = |worker_type: &str| {
        service.metric("mshost_plugin_value", &[&format!("service=\"worker-{worker_type}\""), "name=\"handled\""])
    };
    for worker_type in PANICKING {
        if handle_first.contains(&worker_type) {
            until(&format!("{worker_type} to handle its job"), LIMIT, || (handled(worker_type) == 1).then_some(()));
        } else {
            let outcome = if worker_type.ends_with("START") { "failed: panicked" } else { "failed for good" };
            service.host.until_log(&[&format!("worker={worker_type}:"), outcome]);
        }
    }
    until("the leak", LIMIT, || (handled("LEAK") == 1).then_some(()));
    put("panicking", "works");
    put("leaky", "works");
    for worker_type in PANICKING.into_iter().chain(["LEAK"]) {
        until(&format!("{worker_type} to work"), LIMIT, || (handled(worker_type) == 2).then_some(()));
    }
    until("the panicking ones to have left the memory", LIMIT, || {
        (service.metric("mshost_generations", &["plugin=\"panicking\""]) == 1).then_some(())
    });
    until("the leak to be noticed", LIMIT, || (service.metric("mshost_still_mapped_total", &[]) == 1).then_some(()));
    let site = service.host.site.path().to_owned();
    let log = service.close();

    let mut shown_to_user = String::new();
    for worker_type in PANICKING.into_iter().filter(|worker_type| !worker_type.starts_with("B_")).chain(["LEAK"]) {
        writeln!(shown_to_user, "{worker_type}").unwrap();
        let place = format!("panic in {worker_type}");
        let about = |line: &&String| {
            let is_alarm = [" WARN ", " ERROR "].iter().any(|level| line.contains(level));
            let worker =
                line.contains(&format!("={worker_type}:")) || worker_type == "LEAK" && line.contains("plugin=leaky");
            is_alarm && (line.contains(&place) || worker)
        };
        let lines: BTreeSet<_> = log.iter().filter(about).map(|line| normal(line, &site)).collect();
        lines.iter().for_each(|line| writeln!(shown_to_user, "  {line}").unwrap());
    }
    assert_data_eq!(shown_to_user, file!["panics.txt"]);
}
