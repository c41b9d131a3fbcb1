//! Limits that only a cgroup can hold: they are held, or the worker does not start and says why. `memory`, of which it can hold
//! more than a process can for itself, never keeps a worker from starting.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, workers};
use mshost_tests::wait::until;

/// That of a host with a process id that none has.
const LEFT: &str = "mshost-worker-4294967295-0";

/// A cgroup for a host, as a service manager would make it.
struct HostCgroup(PathBuf);

impl HostCgroup {
    /// `None` where this machine lets us have none.
    fn make() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let (mount, path) = (line.split(' ').nth(4)?, fs::read_to_string("/proc/self/cgroup").ok()?);
        let path = path.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        let folder = Path::new(mount).join(path).join(format!("mshost-test-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        Some(Self(folder))
    }

    fn has(&self, controller: &str) -> bool {
        fs::read_to_string(self.0.join("cgroup.controllers")).unwrap().split_whitespace().any(|has| has == controller)
    }

    /// What a killed host leaves, with a process in it that a plugin had started.
    fn leave(&self) -> Child {
        fs::create_dir(self.0.join(LEFT)).unwrap();
        let started = Command::new("sleep").arg("600").spawn().unwrap();
        fs::write(self.0.join(LEFT).join("cgroup.procs"), started.id().to_string()).unwrap();
        started
    }

    /// What is in a file of the cgroup that this worker is in.
    fn of(&self, worker: &str, host: &HostProcess, file: &str) -> Option<String> {
        let pid = pid(host, worker);
        let read = |name: &str, file: &str| fs::read_to_string(self.0.join(name).join(file)).ok();
        let is_in =
            |name: &String| read(name, "cgroup.procs").is_some_and(|all| all.lines().any(|member| member == pid));
        let name = self.below().into_iter().find(|name| name.starts_with("mshost-worker-") && is_in(name));
        read(&name.expect("its cgroup"), file).map(|content| content.trim().to_owned())
    }

    fn below(&self) -> Vec<String> {
        let all = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap());
        all.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

impl Drop for HostCgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        until("the cgroups to be gone", LIMIT, || {
            self.below().iter().for_each(|name| drop(fs::remove_dir(self.0.join(name))));
            fs::remove_dir(&self.0).is_ok().then_some(())
        });
    }
}

fn topology(workers: &str) -> String {
    // A job that ends a worker ends one.
    let bus = "[bus]\nurl = \"embedded\"\ndelivery_limit = 1";
    format!("[host]\nadmin = \"127.0.0.1:0\"\ndebounce = \"50ms\"\n{bus}\n{workers}")
}

fn worker(kind: &str, limits: &str) -> String {
    format!("[[worker]]\ntype = \"{kind}\"\nplugin = \"crash\"\nisolation = \"process\"\nlimits = {{ {limits} }}\n")
}

fn process(host: &HostProcess, kind: &str) -> serde_json::Value {
    workers(&host.topology(), kind).next().unwrap()["process"].clone()
}

fn pid(host: &HostProcess, kind: &str) -> String {
    process(host, kind)["pid"].to_string()
}

fn driver(first: &str) -> String {
    format!(
        "[[worker]]\ntype = \"DR\"\nplugin = \"crash\"\nisolation = \"process\"\nconfig = {{ first = [{first}] }}\n"
    )
}

#[test]
fn what_only_a_cgroup_can_hold_is_held_or_refused() {
    let site = HostSite::new();
    site.plugin_bytes("libcrash.so", &fs::read(fixtures::fixture("crash")).unwrap());
    site.topology(&topology(&worker("CB", "open_files = 64")));
    let own = HostCgroup::make();
    let mut host = HostProcess::start(site, &[]);
    host.until_running("CB", 1);
    let plain = pid(&host, "CB");
    if let Some(own) = &own {
        // The processes that it has by then, too, as if it had been started there.
        for pid in [host.pid().to_string(), plain] {
            fs::write(own.0.join("cgroup.procs"), pid).unwrap();
        }
    }
    let mut left = own.as_ref().map(HostCgroup::leave);
    let limited =
        [worker("CB", "open_files = 64"), worker("CA", "cpus = 0.5, tasks = 64"), worker("CC", "memory = \"128MiB\"")]
            .concat();
    host.site.topology(&topology(&[&*limited, &driver("[\"CA\", \"threads\"]")].concat()));
    let refused = "nothing can hold its `limits.cpus` and `limits.tasks`: ";
    let held = until("the worker with limits", LIMIT, || {
        let log = host.log_text();
        let runs = workers(&host.topology(), "CA").any(|worker| worker["state"] == "running");
        (runs || log.contains(refused)).then_some(runs)
    });
    if let Some(own) = &own {
        assert_eq!(held, own.has("cpu") && own.has("pids"), "{}", host.log_text());
    }
    if held {
        assert_eq!(process(&host, "CA")["limits"], serde_json::json!(["cpus 0.5 (cpu.max)", "tasks 64 (pids.max)"]));
        let heard = host.until_log(&["heard of CA:"]);
        assert!(heard.contains("Resource temporarily unavailable"), "{heard}");
    } else {
        let said = host.until_log(&[refused]);
        assert!(said.contains("`Delegate=yes`"), "{said}");
        assert!(workers(&host.topology(), "CA").all(|worker| worker["state"] != "running"));
    }
    if let (Some(own), true) = (&own, held) {
        until("what the dead host has left to be gone", LIMIT, || {
            let ended = left.as_mut().unwrap().try_wait().unwrap().is_some();
            (ended && !own.0.join(LEFT).exists()).then_some(())
        });
        let read = |file| own.of("CA", &host, file).unwrap();
        assert_eq!((&*read("cpu.max"), &*read("pids.max")), ("50000 100000", "64"));
    }
    host.until_running("CC", 1);
    if own.as_ref().is_some_and(|own| own.has("memory")) {
        let own = own.as_ref().unwrap();
        assert_eq!(process(&host, "CC")["limits"], serde_json::json!(["memory 128MiB (memory.max, RLIMIT_DATA)"]));
        assert_eq!(own.of("CC", &host, "memory.max").unwrap(), (128 << 20).to_string());
        assert_eq!(own.of("CC", &host, "memory.oom.group").unwrap(), "1");
        // Without swap there is no such file.
        assert_eq!(own.of("CC", &host, "memory.swap.max").unwrap_or("0".to_owned()), "0");
        let before = process(&host, "CC")["pid"].clone();
        host.site.topology(&topology(&[&*limited, &driver("[\"CC\", \"share\"]")].concat()));
        host.until_log(&["killed for using more than `limits.memory` (128MiB, memory.max: "]);
        until("another in its place", LIMIT, || {
            let is_new = |worker: &serde_json::Value| worker["process"]["pid"] != before;
            workers(&host.topology(), "CC").any(|worker| worker["state"] == "running" && is_new(worker)).then_some(())
        });
    } else if own.is_some() {
        assert_eq!(process(&host, "CC")["limits"], serde_json::json!(["memory 128MiB (RLIMIT_DATA)"]));
    }
    // Those without such limits are as they were.
    host.until_running("CB", 1);
    assert!(host.stop().success(), "{}", host.log_text());
    if let Some(own) = &own {
        // Where none is made, none is cleared up.
        let kept = |name: &String| name == "mshost-host" || !held && name == LEFT;
        assert!(own.below().iter().all(kept), "{:?}", own.below());
    }
}
