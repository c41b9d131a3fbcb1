//! A pipeline at work on real hosts.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{HistoryVerdict, Journals, PipelineHistory, dead_letters};
use crate::fixtures;
use crate::heavy::{self, Turn};
use crate::host_process::{HostProcess, HostSite};
use crate::wait::poll;

/// The types of the fixture's workers; the first is the generator.
const WORKERS: [&str; 4] = ["HG", "HA", "HB", "HC"];

/// How long nothing happens before it is asked what died.
const LULL: Duration = Duration::from_secs(3);

/// How the pipeline works.
#[derive(Debug, Clone)]
pub struct PipelineSetup {
    /// How many pipelines the generator sends.
    pub pipelines: u64,
    /// How many sends wait for the bus's answer at a time.
    pub in_flight: u32,
    /// The pause of each sender between two pipelines.
    pub think: Duration,
    /// How many of a thousand attempts fail.
    pub failures: u32,
    /// Chooses which.
    pub seed: u64,
    /// `retry.delay`
    pub retry_delay: Duration,
    /// `retry.max_attempts`
    pub max_attempts: u32,
    /// Further lines for `[bus]`.
    pub bus_lines: String,
    /// How long nothing may happen before what has not come is no longer waited for.
    pub patience: Duration,
    /// How long one wait may take at most.
    pub limit: Duration,
}

impl Default for PipelineSetup {
    /// Attempts fail, but none so often that a job fails for good.
    fn default() -> Self {
        Self {
            pipelines: 20_000,
            in_flight: 64,
            think: Duration::ZERO,
            failures: 10,
            seed: 1,
            retry_delay: Duration::from_millis(20),
            max_attempts: 12,
            bus_lines: String::new(),
            patience: Duration::from_secs(60),
            limit: Duration::from_secs(600),
        }
    }
}

/// One host: the URL of its bus and its workers.
#[derive(Debug, Clone)]
pub struct HostPlacement {
    /// `bus.url`
    pub url: String,
    /// The types of its workers.
    pub workers: &'static [&'static str],
}

impl HostPlacement {
    /// The pipeline on one host.
    #[must_use]
    pub fn single(url: &str) -> [Self; 1] {
        [Self { url: url.to_owned(), workers: &WORKERS }]
    }

    /// The pipeline on two: the generator and the first stage on one, the other stages on the other.
    #[must_use]
    pub fn pair([first, second]: [String; 2]) -> [Self; 2] {
        [Self { url: first, workers: &WORKERS[..2] }, Self { url: second, workers: &WORKERS[2..] }]
    }

    fn topology(&self, setup: &PipelineSetup, journal: &str) -> String {
        let PipelineSetup { pipelines, in_flight, think, failures, seed, max_attempts, bus_lines, .. } = setup;
        let retry_delay = setup.retry_delay.as_millis();
        let mut text = format!(
            r#"
[host]
admin = "127.0.0.1:0"
[bus]
url = "{}"
send_timeout = "2m"
{bus_lines}
[log]
manager = "error"
worker = "error"
[defaults]
concurrency = 64
timeout = "5m"
retry = {{ delay = "{retry_delay}ms", max_attempts = {max_attempts} }}
restart = {{ delay = "10ms", max_delay = "100ms", max_restarts = "off" }}
"#,
            self.url
        );
        for kind in self.workers {
            let config = if *kind == WORKERS[0] {
                format!("count = {pipelines}\nin_flight = {in_flight}\nthink_us = {}", think.as_micros())
            } else {
                format!("failures = {failures}\nseed = {seed}")
            };
            text += &format!(
                "[[worker]]\ntype = \"{kind}\"\nplugin = \"mshost_fixture_history\"\n[worker.config]\njournal = \"{journal}\"\n{config}\n"
            );
        }
        text
    }
}

/// Hosts with a pipeline on them, and what their journals say.
#[derive(Debug)]
pub struct Scenario {
    /// The hosts, in the order of their places.
    pub hosts: Vec<HostProcess>,
    places: Vec<HostPlacement>,
    setup: PipelineSetup,
    folder: TempDir,
    journals: Journals,
    history: PipelineHistory,
    _turn: Turn,
}

impl Scenario {
    /// Starts the hosts, the last first: a stage is there before those that send to it.
    #[must_use]
    pub fn start(setup: &PipelineSetup, places: &[HostPlacement]) -> Self {
        let turn = heavy::turn();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut hosts = Vec::new();
        for place in places.iter().rev() {
            let site = HostSite::new();
            site.plugin(&fixtures::fixture("history"));
            site.topology(&place.topology(setup, &folder.path().display().to_string()));
            let host = HostProcess::start(site, &[]);
            until_all_run(&host, place);
            hosts.insert(0, host);
        }
        let journals = Journals::new(folder.path());
        let history = PipelineHistory::default();
        Self { hosts, places: places.to_vec(), setup: setup.clone(), folder, journals, history, _turn: turn }
    }

    /// Counts the jobs that are dead letters by now.
    ///
    /// # Errors
    /// Where the broker, or the host whose bus is embedded, cannot be asked.
    pub fn look_for_dead_letters(&mut self) -> Result<(), String> {
        let ids: Vec<_> = if self.is_embedded() {
            let letters = dead_letters::of_host(self.hosts[0].admin())?;
            letters.into_iter().map(|letter| letter.id).collect()
        } else {
            dead_letters::ids(&self.places[0].url).map_err(|error| error.to_string())?
        };
        ids.iter().for_each(|id| self.history.add_dead_letter(id));
        Ok(())
    }

    /// What is known so far.
    pub fn history(&mut self) -> &PipelineHistory {
        self.journals.read(&mut self.history).expect("the journals can be read");
        &self.history
    }

    /// Waits until this many pipelines were accepted; gives up when nothing happens any more.
    ///
    /// # Errors
    /// What is known when it gives up.
    pub fn until_accepted(&mut self, count: u64) -> Result<(), Box<HistoryVerdict>> {
        self.until(|history| history.accepted() >= count)
    }

    /// Has the generator begin no pipeline, and waits until nothing is on its way.
    ///
    /// # Errors
    /// As [`Scenario::until_accepted`].
    pub fn pause(&mut self) -> Result<(), Box<HistoryVerdict>> {
        File::create(self.folder.path().join("pause")).expect("a file");
        self.until(PipelineHistory::is_quiet)
    }

    /// Has it go on.
    pub fn resume(&self) {
        std::fs::remove_file(self.folder.path().join("pause")).expect("it was paused");
    }

    /// Has the first host's topology name another bus.
    pub fn name_bus(&mut self, url: &str) {
        url.clone_into(&mut self.places[0].url);
        let text = self.places[0].topology(&self.setup, &self.folder.path().display().to_string());
        self.hosts[0].site.topology(&text);
    }

    /// Has the first host move to another bus while it works, and waits until nothing is left on the old one.
    pub fn move_bus(&mut self, url: &str) {
        let revision = self.hosts[0].topology()["topology"]["revision"].clone();
        self.name_bus(url);
        self.hosts[0].until_topology("everybody on the new bus", |topology| {
            let moved = topology["topology"]["revision"] != revision;
            (moved && topology["bus"]["leaving"].as_array()?.is_empty()).then_some(())
        });
    }

    /// Kills a host and starts it again.
    pub fn restart_host(&mut self, index: usize) {
        self.hosts[index].restart(&[]);
        until_all_run(&self.hosts[index], &self.places[index]);
    }

    /// Leaves the journals where they are when all has ended, and beside them what the hosts have logged since their last
    /// start; says where that is.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// Has the generator begin no pipeline any more.
    pub fn stop(&self) {
        File::create(self.folder.path().join("stop")).expect("a file");
    }

    /// Waits until everything that was accepted is accounted for, or nothing happens any more; looks for dead letters, stops the
    /// hosts and judges.
    #[must_use]
    pub fn finish(mut self) -> HistoryVerdict {
        // Where it is in vain the verdict says why.
        let settled = self.until(PipelineHistory::is_settled).is_ok();
        if self.is_embedded() {
            self.look_for_dead_letters().expect("the host shows its dead letters");
        }
        for host in &mut self.hosts {
            if settled {
                let status = host.stop();
                assert!(status.success(), "{status}\n{}", host.log_text());
            } else {
                host.kill();
            }
        }
        for (index, host) in self.hosts.iter().enumerate() {
            std::fs::write(self.folder.path().join(format!("host-{index}.log")), host.log_text()).expect("a file");
        }
        if !self.is_embedded() {
            self.look_for_dead_letters().expect("the broker shows its dead letters");
        }
        self.history().verdict()
    }

    fn is_embedded(&self) -> bool {
        self.places[0].url == "embedded"
    }

    /// What the hosts logged since their last start.
    #[must_use]
    pub fn logs(&self) -> String {
        self.hosts.iter().map(HostProcess::log_text).collect::<Vec<_>>().join("\n--- the next host\n")
    }

    fn until(&mut self, mut condition: impl FnMut(&PipelineHistory) -> bool) -> Result<(), Box<HistoryVerdict>> {
        let PipelineSetup { patience, limit, .. } = self.setup;
        let mut last = (0, Instant::now());
        let mut has_looked = false;
        let met = poll(limit, || {
            let records = self.history().records();
            if records != last.0 {
                last = (records, Instant::now());
                has_looked = false;
            } else if !has_looked && last.1.elapsed() > LULL {
                // What nobody writes of any more may be a dead letter of which its sender did not hear.
                has_looked = self.look_for_dead_letters().is_ok();
            }
            let met = condition(&self.history);
            (met || last.1.elapsed() > patience).then_some(met)
        });
        if met == Some(true) { Ok(()) } else { Err(Box::new(self.history().verdict())) }
    }
}

fn until_all_run(host: &HostProcess, place: &HostPlacement) {
    for kind in place.workers {
        host.until_running(kind, 1);
    }
}
