//! What operators and plugins do wrong. None of it may fail a request or lose a job.

use std::fmt;
use std::time::Duration;

use mshost_tests::fixtures;
use mshost_tests::host_process::plugin;
use mshost_tests::seeded_rng::SeededRng;
use mshost_tests::wait::poll;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::rig::{PATIENCE, SoakRig};
use crate::shape::{PLUGINS, PluginLibrary, StageTrouble};

/// For how long a stage is slow or fails.
const A_WHILE: Duration = Duration::from_secs(2);

/// A fault. Each is over when its `strike` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorFault {
    /// A file that is cut short, random or empty, in place of a plugin's; then a good one.
    BadFile,
    /// A plugin that has not the worker that the topology wants; then a good one.
    OtherPlugin,
    /// A version that panics in `start`, then a good one.
    StartPanics,
    /// A fifth of a stage's attempts fails, every fourth of these by a panic, while it is replaced.
    HandlersPanic,
    /// Half of a stage's attempts takes 300 ms, while it is replaced.
    HandlersSlow,
    /// A topology with an error or without anything in it; then a good one.
    BrokenTopology,
    /// A plugin's file is removed, and comes back.
    FileRemoved,
    /// A hundred SIGHUPs while plugins and topology change.
    HangupStorm,
    /// SIGKILL of the host, and a restart.
    HostKilled,
}

impl OperatorFault {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::BadFile,
        Self::OtherPlugin,
        Self::StartPanics,
        Self::HandlersPanic,
        Self::HandlersSlow,
        Self::BrokenTopology,
        Self::FileRemoved,
        Self::HangupStorm,
        Self::HostKilled,
    ];
}

impl fmt::Display for OperatorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BadFile => "bad plugin file",
            Self::OtherPlugin => "plugin without its worker",
            Self::StartPanics => "version that panics in start",
            Self::HandlersPanic => "handlers fail and panic",
            Self::HandlersSlow => "handlers are slow",
            Self::BrokenTopology => "broken topology",
            Self::FileRemoved => "plugin file removed",
            Self::HangupStorm => "SIGHUP storm",
            Self::HostKilled => "host killed",
        })
    }
}

impl SoakRig {
    /// Does its worst, and waits until it is over.
    ///
    /// # Errors
    /// Where the host does not notice, or does not come back.
    pub fn strike(&mut self, fault: OperatorFault, rng: &mut SeededRng) -> Result<(), String> {
        let (name, _, library) = *rng.pick(&PLUGINS);
        let stage = rng.within(0..3) as usize;
        match fault {
            OperatorFault::BadFile => self.bad_file(name, rng),
            OperatorFault::OtherPlugin => self.other_plugin(name, library),
            OperatorFault::StartPanics => self.start_panics(stage),
            OperatorFault::HandlersPanic => self.in_trouble(stage, StageTrouble::Fails),
            OperatorFault::HandlersSlow => self.in_trouble(stage, StageTrouble::Slow),
            OperatorFault::BrokenTopology => self.broken_topology(rng),
            OperatorFault::FileRemoved => self.file_removed(name),
            OperatorFault::HangupStorm => self.hangups(name, rng),
            OperatorFault::HostKilled => self.kill_host(),
        }?;
        let ready = self.host.ask("/readyz");
        if ready.status == 200 { Ok(()) } else { Err(format!("not ready afterwards: {}", ready.body)) }
    }

    fn bad_file(&mut self, name: &'static str, rng: &mut SeededRng) -> Result<(), String> {
        let whole = self.library(name);
        let cut = rng.within(1..whole.len() as u64) as usize;
        let bytes = match rng.within(0..3) {
            0 => whole[..cut].to_vec(),
            1 => (0..65_536).map(|_| rng.next_u64() as u8).collect(),
            _ => Vec::new(),
        };
        let generation = plugin(&self.host.topology(), name).map_or(Value::Null, |plugin| plugin["generation"].clone());
        self.put(name, &bytes);
        // One that is cut behind all that the loader reads is whole, and taken.
        self.until("the plugin's error", |topology| {
            plugin(topology, name)
                .is_some_and(|plugin| plugin["last_error"].is_object() || plugin["generation"] != generation)
        })?;
        self.heal(name)
    }

    fn other_plugin(&mut self, name: &'static str, library: PluginLibrary) -> Result<(), String> {
        let other =
            if library == PluginLibrary::History { fixtures::example("pilot") } else { fixtures::fixture("echo") };
        let bytes = std::fs::read(other).map_err(|error| format!("cannot read a library: {error}"))?;
        self.put(name, &bytes);
        self.until("an error for the topology", |topology| !topology["topology"]["last_error"].is_null())?;
        self.heal(name)?;
        self.until("no error for the topology", |topology| topology["topology"]["last_error"].is_null())
    }

    fn start_panics(&mut self, stage: usize) -> Result<(), String> {
        let kind = PLUGINS[3 + stage].1;
        let before = self.before(&[], &[]);
        self.shape.trouble = Some((stage, StageTrouble::StartPanics));
        self.save();
        self.until("a refused version", |topology| {
            mshost_tests::host_process::workers(topology, kind)
                .all(|worker| worker["last_error"]["message"].is_string())
        })?;
        self.shape.trouble = None;
        self.save();
        self.until_shaped(&before)
    }

    fn in_trouble(&mut self, stage: usize, trouble: StageTrouble) -> Result<(), String> {
        let (name, kind, _) = PLUGINS[3 + stage];
        for trouble in [Some((stage, trouble)), None] {
            let before = self.before(&[], &[kind]);
            self.shape.trouble = trouble;
            self.save();
            self.until_shaped(&before)?;
            let before = self.before(&[name], &[kind]);
            // Time in trouble is what is wanted here, not a condition.
            std::thread::park_timeout(A_WHILE / 2);
            self.replace(name);
            self.until_shaped(&before)?;
        }
        Ok(())
    }

    fn broken_topology(&mut self, rng: &mut SeededRng) -> Result<(), String> {
        let good = self.text();
        let cut = rng.within(1..good.len() as u64) as usize;
        let broken = match rng.within(0..4) {
            0 => String::new(),
            1 => good.replace("plugin = \"db\"", "plugin = "),
            2 => good.replace("instances = ", "instnaces = "),
            _ => good[..cut].to_owned() + "\n[[worker",
        };
        self.host.site.topology(&broken);
        self.until("an error for the topology", |topology| !topology["topology"]["last_error"].is_null())?;
        let before = self.before(&[], &[]);
        self.save();
        self.until("no error for the topology", |topology| topology["topology"]["last_error"].is_null())?;
        self.until_shaped(&before)
    }

    fn file_removed(&mut self, name: &'static str) -> Result<(), String> {
        let path = self.host.site.path().join(format!("plugins/lib{name}.so"));
        std::fs::remove_file(&path).map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
        self.until("the file to be gone", |topology| {
            plugin(topology, name).is_none_or(|plugin| plugin["file"].is_null())
        })?;
        self.heal(name)
    }

    fn hangups(&mut self, name: &'static str, rng: &mut SeededRng) -> Result<(), String> {
        let types = self.shape.change(rng);
        let before = self.before(&[name], &types);
        for number in 0..100 {
            match number {
                30 => self.replace(name),
                60 => self.save(),
                _ => {}
            }
            self.host.signal(Signal::SIGHUP);
            // So that the storm lasts for a while: the kernel makes one of what comes at once.
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.until_shaped(&before)
    }

    fn kill_host(&mut self) -> Result<(), String> {
        self.stop_clients()?;
        self.host.restart(&[]);
        self.until_shaped(&self.before(&[], &[]))?;
        self.start_clients();
        Ok(())
    }

    /// A good version, and nothing but it.
    fn heal(&mut self, name: &'static str) -> Result<(), String> {
        let before = self.before(&[name], &[]);
        self.replace(name);
        self.until_shaped(&before)?;
        self.until("no error for the plugin", |topology| {
            plugin(topology, name).is_some_and(|plugin| plugin["last_error"].is_null())
        })
    }

    fn until(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Result<(), String> {
        let mut last = Value::Null;
        let met = poll(PATIENCE, || {
            last = self.host.topology();
            condition(&last).then_some(())
        });
        met.ok_or_else(|| format!("waited in vain for {what}\n{last:#}"))
    }
}
