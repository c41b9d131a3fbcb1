//! The zoo: every kind of bad plugin, let loose on a host that serves, and for each the lines that its user sees.
//!
//! The lines are in `refused.txt` and `panics.txt` next to this; `SNAPSHOTS=overwrite cargo test --test zoo` writes them
//! anew. A new animal is one line in [`animals`] (a file that is refused) or a worker of `tests/fixtures/beast` (code that
//! panics). What ends a whole process can only live in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod animals;
mod elf;
mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use animals::animals;
use lines::normal;
use mshost_tests::fixtures::{example, with_deed};
use mshost_tests::host::{Host, LIMIT, plugin, workers};
use mshost_tests::load::{Load, Running};
use mshost_tests::movie::{self, Topology};
use mshost_tests::wait::until;
use snapbox::{assert_data_eq, file};
use tokio::runtime::Runtime;

/// The connections that ask all the time.
const CONNECTIONS: usize = 8;

/// The workers of the beast, each of which panics in the entry point that it is named after.
const BEASTS: [&str; 14] = [
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
struct Zoo {
    host: Host,
    runtime: Runtime,
    load: Running,
}

impl Zoo {
    fn open() -> Self {
        let (host, rest) = movie::serve(&Topology::default(), &[]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let load = runtime.block_on(async { Load::new(rest, "/movies/", CONNECTIONS).start() });
        Self { host, runtime, load }
    }

    fn plugins(&self) -> PathBuf {
        self.host.site.path().join("plugins")
    }

    /// The movie service and more workers.
    fn add_workers(&self, workers: impl IntoIterator<Item = (String, String)>) {
        let mut text = Topology::default().text();
        for (worker_type, plugin) in workers {
            let retry = "retry = { delay = \"10ms\", max_attempts = 2 }";
            // Never parked: how often a beast bites before it is tamed depends on the machine.
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
        let Self { mut host, runtime, load } = self;
        runtime.block_on(load.stop()).assert_flawless();
        assert!(host.stop().success(), "{}", host.log_text());
        host.log()
    }
}

#[test]
fn each_bad_file_is_one_line_that_helps_and_a_good_one_in_its_place_works() {
    let zoo = Zoo::open();
    let animals = animals();
    zoo.add_workers(animals.iter().map(|animal| ("WD".to_owned(), animal.name.to_owned())));
    for animal in &animals {
        zoo.host.until_topology(animal.name, |topology| one_worker(topology, animal.name, "pending").then_some(()));
    }
    let failed_before = zoo.metric("mshost_reloads_total", &["kind=\"plugin\"", "outcome=\"failed\""]);

    for animal in &animals {
        animal.enter(&zoo.plugins());
    }
    let mut said = String::new();
    for animal in &animals {
        let message = zoo.host.until_topology(&format!("an error for {}", animal.name), |topology| {
            plugin(topology, animal.name)?["last_error"]["message"].as_str().map(str::to_owned)
        });
        assert!(one_worker(&zoo.host.topology(), animal.name, "pending"), "{}: its worker waits", animal.name);
        let shown = format!("plugin: {message} plugin={}", animal.name);
        let lines = zoo.host.log().into_iter().filter(|line| line.ends_with(&shown)).collect::<Vec<_>>();
        assert_eq!(lines.len(), 1, "{shown}\n{}", zoo.host.log_text());
        writeln!(said, "{}", normal(&lines[0], zoo.host.site.path())).unwrap();
    }
    assert_data_eq!(said, file!["refused.txt"]);

    let mut kinds = BTreeMap::<_, u64>::new();
    animals.iter().for_each(|animal| *kinds.entry(animal.kind).or_default() += 1);
    let counted: BTreeMap<_, _> = kinds
        .keys()
        .map(|kind| (*kind, zoo.metric("mshost_malformed_total", &["source=\"plugin\"", &format!("kind=\"{kind}\"")])))
        .collect();
    assert_eq!(counted, kinds);
    let failed = zoo.metric("mshost_reloads_total", &["kind=\"plugin\"", "outcome=\"failed\""]) - failed_before;
    assert_eq!(failed, animals.len() as u64);
    assert_eq!(
        std::fs::read_dir(zoo.host.site.path().join("state/shadow")).map_or(0, Iterator::count),
        0,
        "copies stay"
    );

    for animal in &animals {
        animal.heal(&zoo.plugins(), &example("pilot"));
    }
    for animal in &animals {
        zoo.host.until_topology(&format!("a healed {} that serves", animal.name), |topology| {
            let worker = workers(topology, "WD").find(|worker| worker["plugin"] == animal.name)?;
            let mended = plugin(topology, animal.name)?["last_error"].is_null();
            (mended && worker["done"].as_u64()? > 0).then_some(())
        });
    }
    zoo.close();
}

/// Whether a plugin has one worker, in this state.
fn one_worker(topology: &serde_json::Value, plugin: &str, state: &str) -> bool {
    let states: Vec<_> = workers(topology, "WD").filter(|worker| worker["plugin"] == plugin).collect();
    matches!(&states[..], [worker] if worker["state"] == state)
}

#[test]
fn a_second_file_of_one_name_is_told_while_it_is_there_and_no_longer() {
    let zoo = Zoo::open();
    let twin = zoo.plugins().join("pilot.so");
    std::fs::write(&twin, b"no plugin").unwrap();
    let error = |topology: &serde_json::Value| plugin(topology, "pilot").unwrap()["last_error"]["message"].clone();
    zoo.host.until_topology("the twin to be told", |topology| {
        error(topology).as_str()?.contains("are both the plugin `pilot`").then_some(())
    });
    assert_eq!(zoo.host.ask("/readyz").status, 200);
    std::fs::remove_file(twin).unwrap();
    zoo.host.until_topology("the twin to be forgotten", |topology| error(topology).is_null().then_some(()));
    zoo.close();
}

#[test]
fn a_panic_in_any_entry_point_is_told_and_costs_no_other_worker_anything() {
    let zoo = Zoo::open();
    let put = |name: &str, deed: &str| zoo.host.site.plugin_bytes(&format!("lib{name}.so"), &with_deed("beast", deed));
    put("beast", "wild");
    put("leaky", "wild");
    let workers = BEASTS.iter().map(|beast| (*beast, "beast")).chain([("LEAK", "leaky")]);
    zoo.add_workers(workers.map(|(worker_type, plugin)| (worker_type.to_owned(), plugin.to_owned())));
    // Those that can be fed although they are wild; of the others the log tells when they have done their worst.
    let fed_wild = ["DRAIN", "STOP", "DROP", "B_STOP", "B_DROP"];
    let fed =
        |beast: &str| zoo.metric("mshost_plugin_value", &[&format!("service=\"worker-{beast}\""), "name=\"fed\""]);
    for beast in BEASTS {
        if fed_wild.contains(&beast) {
            until(&format!("{beast} to be fed"), LIMIT, || (fed(beast) == 1).then_some(()));
        } else {
            let worst = if beast.ends_with("START") { "failed: panicked" } else { "failed for good" };
            zoo.host.until_log(&[&format!("worker={beast}:"), worst]);
        }
    }
    until("the leak", LIMIT, || (fed("LEAK") == 1).then_some(()));
    put("beast", "tame");
    put("leaky", "tame");
    for beast in BEASTS.into_iter().chain(["LEAK"]) {
        until(&format!("{beast} to be tame"), LIMIT, || (fed(beast) == 2).then_some(()));
    }
    until("the wild ones to have left the memory", LIMIT, || {
        (zoo.metric("mshost_generations", &["plugin=\"beast\""]) == 1).then_some(())
    });
    until("the leak to be noticed", LIMIT, || (zoo.metric("mshost_still_mapped_total", &[]) == 1).then_some(()));
    let site = zoo.host.site.path().to_owned();
    let log = zoo.close();

    let mut said = String::new();
    for beast in BEASTS.into_iter().filter(|beast| !beast.starts_with("B_")).chain(["LEAK"]) {
        writeln!(said, "{beast}").unwrap();
        let place = format!("bites in {beast}");
        let about = |line: &&String| {
            let is_alarm = [" WARN ", " ERROR "].iter().any(|level| line.contains(level));
            let worker = line.contains(&format!("={beast}:")) || beast == "LEAK" && line.contains("plugin=leaky");
            is_alarm && (line.contains(&place) || worker)
        };
        let lines: BTreeSet<_> = log.iter().filter(about).map(|line| normal(line, &site)).collect();
        lines.iter().for_each(|line| writeln!(said, "  {line}").unwrap());
    }
    assert_data_eq!(said, file!["panics.txt"]);
}
