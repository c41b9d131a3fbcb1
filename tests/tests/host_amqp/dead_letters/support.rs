//! A host whose jobs fail, and the command that looks at them.

use std::process::{Command, Output, Stdio};

use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite, workers};
use serde_json::Value;

/// How many pipelines are sent; the first stage of each fails while the topology says so.
pub const PIPELINES: u64 = 3;

/// The embedded bus with a journal, for [`topology`].
pub const JOURNALED: &str = "embedded\"\njournal = \"state/bus";

/// A host, and how its dead letters are reached from outside.
pub struct FailingJobsHost {
    pub host: HostProcess,
    bus: String,
    pub reach: [String; 2],
}

/// What a command said.
pub struct CommandOutput {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl FailingJobsHost {
    /// A host whose first stage fails each job at its only attempt, with [`PIPELINES`] dead letters.
    pub fn with_dead_letters(bus: &str) -> Self {
        let site = HostSite::new();
        site.plugin(&fixtures::fixture("history"));
        std::fs::create_dir(site.path().join("journal")).unwrap();
        site.topology(&topology(&site, bus, &[("HG", "count = 3\nin_flight = 1"), ("HA", "failures = 1000")]));
        let host = HostProcess::start(site, &[]);
        let reach = if bus == "embedded" {
            ["--admin".to_owned(), host.admin().to_string()]
        } else {
            ["--topology".to_owned(), "topology.toml".to_owned()]
        };
        let failing = Self { host, bus: bus.to_owned(), reach };
        failing.until_dead(PIPELINES);
        failing
    }

    pub fn until_dead(&self, count: u64) {
        self.host.until_topology(&format!("{count} dead letters"), |topology| {
            (topology["bus"]["dead_letters"] == count).then_some(())
        });
    }

    /// `mshost dead-letters …`
    pub fn letters(&self, args: &[&str]) -> CommandOutput {
        mshost(&self.host.site, &[args, &[&*self.reach[0], &*self.reach[1]]].concat())
    }

    pub fn ids(&self) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.letters(&["list", "--json"]).succeeded()).unwrap();
        list["letters"].as_array().unwrap().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
    }

    /// What was wrong is put right, and the later stages are there.
    pub fn repair(&self) {
        let site = &self.host.site;
        let stages = [("HG", "count = 3\nin_flight = 1"), ("HA", "failures = 0"), ("HB", ""), ("HC", "")];
        site.topology(&topology(site, &self.bus, &stages));
        self.host
            .until_topology("the repaired topology", |topology| (topology["topology"]["revision"] == 2).then_some(()));
        // The repaired worker of the first stage has not failed once.
        self.host.until_topology("its workers", |topology| {
            let fresh = |worker: &Value| worker["state"] == "running" && worker["failed"] == 0;
            ["HA", "HB", "HC"].iter().all(|kind| workers(topology, kind).any(fresh)).then_some(())
        });
    }
}

impl CommandOutput {
    /// Standard output of a command that succeeded.
    #[track_caller]
    pub fn succeeded(&self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self.out.clone()
    }

    /// Standard error of a command that failed.
    #[track_caller]
    pub fn failed(&self) -> String {
        assert_eq!(self.code, Some(1), "{}\n{}", self.out, self.err);
        self.err.clone()
    }
}

pub fn topology(site: &HostSite, bus: &str, stages: &[(&str, &str)]) -> String {
    let mut text = format!(
        r#"
[host]
admin = "127.0.0.1:0"
debounce = "50ms"
[bus]
url = "{bus}"
codec = "json"
[defaults]
retry = {{ max_attempts = 1 }}
"#
    );
    let journal = site.path().join("journal");
    for (kind, config) in stages {
        let journal = journal.display();
        text += &format!(
            "[[worker]]\ntype = \"{kind}\"\nplugin = \"mshost_fixture_history\"\n[worker.config]\njournal = \"{journal}\"\n{config}\n"
        );
    }
    text
}

pub fn command(site: &HostSite, args: &[&str]) -> Command {
    let mut command = Command::new(fixtures::mshost_binary());
    command.arg("dead-letters").args(args).current_dir(site.path());
    command.env_remove("BROKER_URL").env_remove("RUST_LOG").env_remove("MSHOST_TOPOLOGY").stdin(Stdio::null());
    command
}

pub fn mshost(site: &HostSite, args: &[&str]) -> CommandOutput {
    let Output { status, stdout, stderr } = command(site, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CommandOutput { code: status.code(), out: text(stdout), err: text(stderr) }
}
