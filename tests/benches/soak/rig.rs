//! One host with the movie example and the history's pipeline on it, clients of every habit, and the books.

use std::fs;
use std::time::Duration;

use mshost_tests::fixtures;
use mshost_tests::footprint::{Footprint, libraries};
use mshost_tests::history::dead_letters::{self, DeadLetterLine};
use mshost_tests::history::{HistoryVerdict, Journals, PipelineHistory, diagnose};
use mshost_tests::host_process::{HostProcess, HostSite, plugin, running, workers};
use mshost_tests::http_clients::{ClientTally, HttpClients, RunningClients};
use mshost_tests::wait::poll;
use serde_json::Value;
use tempfile::TempDir;

use crate::shape::{GUEST, LINGER_MS, PLUGINS, PluginLibrary, SOURCE, SoakTopology};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The folder of the bus's journal, as the topology says.
const BUS: &str = "state/bus";

/// The most dead letters that are shown.
const LETTERS: usize = 20;

/// How many clients of each habit.
const CLIENTS: usize = 2;

/// Their pause.
const THINK: Duration = Duration::from_millis(8);

/// See the module.
pub struct SoakRig {
    pub host: HostProcess,
    pub shape: SoakTopology,
    folder: TempDir,
    journals: Journals,
    history: PipelineHistory,
    clients: Option<RunningClients>,
    tally: ClientTally,
    example: Vec<(&'static str, Vec<u8>)>,
    stage: Vec<u8>,
    versions: u64,
}

/// What is to be gone, or to be there, once a change has taken effect.
pub struct Before {
    /// Of each plugin that is replaced, by its name: its generation.
    generations: Vec<(&'static str, Value)>,
    /// The workers of these types are all others.
    ids: Vec<(&'static str, Vec<Value>)>,
}

impl SoakRig {
    /// Starts everything and waits until it serves.
    pub fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let shape = SoakTopology::default();
        let site = HostSite::new();
        let read = |path| fs::read(path).map_err(|error| format!("cannot read a library: {error}"));
        let stage = read(fixtures::fixture("history"))?;
        let mut example = Vec::new();
        for name in ["rest", "pilot", "db"] {
            example.push((name, read(fixtures::example(name))?));
        }
        for (name, bytes) in &example {
            site.plugin_bytes(&file(name), bytes);
        }
        for name in
            PLUGINS.iter().filter(|plugin| plugin.2 == PluginLibrary::History).map(|plugin| plugin.0).chain([SOURCE])
        {
            site.plugin_bytes(&file(name), &stage);
        }
        site.plugin_bytes(&file(GUEST), &read(fixtures::fixture("echo"))?);
        site.topology(&shape.text(&folder.path().display().to_string()));
        let journals = Journals::new(folder.path());
        let host = HostProcess::start(site, &[]);
        let mut rig = Self {
            host,
            shape,
            folder,
            journals,
            history: PipelineHistory::default(),
            clients: None,
            tally: ClientTally::default(),
            example,
            stage,
            versions: 0,
        };
        rig.until_shaped(&rig.before(&[], &[]))?;
        rig.start_clients();
        Ok(rig)
    }

    /// Puts a new version of a plugin in place.
    pub fn replace(&mut self, name: &'static str) {
        self.versions += 1;
        let mut bytes = self.library(name).to_vec();
        // The loader does not look behind the end of the ELF file.
        bytes.extend(self.versions.to_le_bytes());
        self.put(name, &bytes);
    }

    /// Puts any bytes in a plugin's place.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        self.host.site.plugin_bytes(&file(name), bytes);
    }

    /// What a plugin is a copy of.
    pub fn library(&self, name: &str) -> &[u8] {
        self.example.iter().find(|(known, _)| *known == name).map_or(&self.stage, |(_, bytes)| bytes)
    }

    /// The topology as its shape is now.
    pub fn text(&self) -> String {
        self.shape.text(&self.folder.path().display().to_string())
    }

    /// Saves it.
    pub fn save(&self) {
        self.host.site.topology(&self.text());
    }

    /// What there is before some plugins are replaced, and workers of some types with the topology.
    pub fn before(&self, plugins: &[&'static str], types: &[&'static str]) -> Before {
        let topology = self.host.topology();
        let generation = |name: &&'static str| (*name, generation(&topology, name));
        let ids = |kind: &&'static str| (*kind, workers(&topology, kind).map(|worker| worker["id"].clone()).collect());
        Before { generations: plugins.iter().map(generation).collect(), ids: types.iter().map(ids).collect() }
    }

    /// Waits until everything runs as the topology says, on the newest version of each plugin.
    pub fn until_shaped(&self, before: &Before) -> Result<(), String> {
        let mut last = Value::Null;
        let shaped = poll(PATIENCE, || {
            last = self.host.topology();
            self.is_shaped(&last, before).then_some(())
        });
        shaped.ok_or_else(|| format!("what was wished for does not run: {:?}\n{last:#}", self.shape))
    }

    fn is_shaped(&self, topology: &Value, before: &Before) -> bool {
        let counts = |(kind, count): &(&str, usize)| {
            running(topology, kind) == *count && workers(topology, kind).count() == *count
        };
        let replaced = |(name, old): &(&str, Value)| generation(topology, name) != *old;
        let others =
            |(kind, old): &(&str, Vec<Value>)| workers(topology, kind).all(|worker| !old.contains(&worker["id"]));
        let newest = |(name, kind, _): &(&str, &str, PluginLibrary)| {
            let generation = generation(topology, name);
            workers(topology, kind).all(|worker| worker["generation"] == generation)
        };
        self.shape.instances().iter().all(counts)
            && before.generations.iter().all(replaced)
            && before.ids.iter().all(others)
            && PLUGINS.iter().all(newest)
    }

    /// What the host holds once old versions have left. Where they do not leave, what it holds then.
    pub fn footprint(&self) -> Result<Footprint, String> {
        let pid = self.host.pid();
        let _ = poll(PATIENCE, || (libraries(pid, "").ok()? <= self.shape.loaded()).then_some(()));
        Footprint::of(pid).map_err(|error| format!("the host has ended: {error}"))
    }

    /// What is known of the pipelines.
    pub fn history(&mut self) -> Result<&PipelineHistory, String> {
        self.journals.read(&mut self.history).map_err(|error| format!("cannot read the journals: {error}"))?;
        Ok(&self.history)
    }

    /// Requests answered so far.
    pub fn answered(&self) -> u64 {
        self.tally.answered + self.clients.as_ref().map_or(0, RunningClients::answered)
    }

    /// Looks whether a client has left.
    ///
    /// # Errors
    /// What it has seen that it must not see.
    pub fn are_clients_served(&mut self) -> Result<(), String> {
        match &self.clients {
            Some(clients) if !clients.are_content() => self.stop_clients(),
            _ => Ok(()),
        }
    }

    /// Sends in clients of every habit.
    pub fn start_clients(&mut self) {
        let linger = Duration::from_millis(LINGER_MS);
        let address = self.host.http("WA");
        self.clients = Some(HttpClients { address, linger, each: CLIENTS, think: THINK }.start());
    }

    /// Has them finish and leave.
    ///
    /// # Errors
    /// What they have seen that they must not see.
    pub fn stop_clients(&mut self) -> Result<(), String> {
        let Some(clients) = self.clients.take() else { return Ok(()) };
        let tally = clients.stop().map_err(|complaints| format!("clients complain:\n{complaints}"))?;
        self.tally.add(tally);
        Ok(())
    }

    /// Ends it all in good order.
    ///
    /// # Errors
    /// What went wrong first.
    pub fn end(&mut self) -> Result<(), String> {
        let gone = self.stop_clients();
        fs::File::create(self.folder.path().join("stop")).map_err(|error| format!("no `stop`: {error}"))?;
        let letters = dead_letters::of_host(self.host.admin())?;
        letters.iter().for_each(|letter| self.history.add_dead_letter(&letter.id));
        let settled = poll(PATIENCE, || self.history().ok()?.is_settled().then_some(()));
        let metrics = self.host.ask("/metrics").body;
        let status = self.host.stop();
        gone?;
        settled.ok_or("not all that was accepted is done")?;
        for zero in ["mshost_still_mapped_total 0", "mshost_abandoned_threads 0"] {
            if !metrics.contains(zero) {
                return Err(format!("expected `{zero}` among the metrics"));
            }
        }
        if status.success() { Ok(()) } else { Err(format!("the host ended with {status}")) }
    }

    /// What the history comes to, however it has ended: the verdict, and what is known of each job that nobody accounts for or
    /// that failed for good. No attempts fail so often that any should.
    ///
    /// # Errors
    /// Where a journal cannot be read.
    pub fn judge(&mut self) -> Result<(HistoryVerdict, String), String> {
        self.host.kill();
        let bus = self.host.site.path().join(BUS);
        let letters = dead_letters::of_journal(&bus)?;
        letters.iter().for_each(|letter| self.history.add_dead_letter(&letter.id));
        let verdict = self.history()?.verdict();
        let mut text = diagnose(&verdict, self.folder.path(), &bus, &letters);
        for DeadLetterLine { id, why } in letters.iter().take(LETTERS) {
            text += &format!("dead letter {id}: {why}\n");
        }
        Ok((verdict, text))
    }

    /// What clients saw.
    pub fn tally(&self) -> &ClientTally {
        &self.tally
    }
}

fn file(name: &str) -> String {
    format!("lib{name}.so")
}

fn generation(topology: &Value, name: &str) -> Value {
    plugin(topology, name).map_or(Value::Null, |plugin| plugin["generation"].clone())
}
