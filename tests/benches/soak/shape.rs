//! What the topology of the soak says, and how it changes.

use mshost_tests::seeded_rng::SeededRng;

/// Every plugin that is replaced: its name, its worker's type, and which library it is.
pub const PLUGINS: [(&str, &str, PluginLibrary); 6] = [
    ("rest", "WA", PluginLibrary::Example("rest")),
    ("pilot", "WD", PluginLibrary::Example("pilot")),
    ("db", "WB", PluginLibrary::Example("db")),
    ("stage_a", "HA", PluginLibrary::History),
    ("stage_b", "HB", PluginLibrary::History),
    ("stage_c", "HC", PluginLibrary::History),
];

/// What sends the pipelines. It is not replaced: two of it would send each pipeline twice.
pub const SOURCE: &str = "source";

/// What comes and goes with the topology alone.
pub const GUEST: &str = "guest";

/// The `linger` of the edge, in milliseconds.
pub const LINGER_MS: u64 = 200;

/// The number of stages.
const STAGES: usize = 3;

/// Which library a plugin is a copy of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginLibrary {
    Example(&'static str),
    History,
}

/// What a stage is told besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageTrouble {
    /// Half of its attempts take 300 ms.
    Slow,
    /// Its next version panics in `start`.
    StartPanics,
    /// A fifth of its attempts fails, or panics.
    Fails,
}

/// The part of the topology that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoakTopology {
    pub pilots: usize,
    pub stages: [usize; STAGES],
    guest: bool,
    pilot_timeout: u64,
    seeds: [u64; STAGES],
    pub trouble: Option<(usize, StageTrouble)>,
}

impl Default for SoakTopology {
    fn default() -> Self {
        Self { pilots: 1, stages: [1; STAGES], guest: false, pilot_timeout: 10, seeds: [1; STAGES], trouble: None }
    }
}

impl SoakTopology {
    /// Changes something. The types of worker whose instances are all others afterwards.
    pub fn change(&mut self, rng: &mut SeededRng) -> Vec<&'static str> {
        let stage = rng.within(0..STAGES as u64) as usize;
        match rng.within(0..5) {
            0 => self.pilots = 1 + self.pilots % 3,
            1 => self.stages[stage] = 1 + self.stages[stage] % 3,
            2 => self.guest = !self.guest,
            3 => {
                self.pilot_timeout = 10 + (self.pilot_timeout - 9) % 50;
                return vec!["WD"];
            }
            _ => {
                self.seeds[stage] += 1;
                return vec![PLUGINS[3 + stage].1];
            }
        }
        Vec::new()
    }

    /// How many instances of each type there are.
    pub fn instances(&self) -> Vec<(&'static str, usize)> {
        let [a, b, c] = self.stages;
        vec![
            ("WA", 1),
            ("WD", self.pilots),
            ("WB", 1),
            ("HG", 1),
            ("HA", a),
            ("HB", b),
            ("HC", c),
            ("EC", usize::from(self.guest)),
        ]
    }

    /// How many plugins are loaded.
    pub fn loaded(&self) -> u64 {
        PLUGINS.len() as u64 + 1 + u64::from(self.guest)
    }

    /// As text. `journals` is the folder of the history's journals.
    pub fn text(&self, journals: &str) -> String {
        let Self { pilots, pilot_timeout, .. } = self;
        let mut text = format!(
            r#"
[host]
admin = "127.0.0.1:0"
debounce = "20ms"
[bus]
url = "embedded"
journal = "state/bus"
journal_sync = "never"
[log]
manager = "error"
worker = "error"
[defaults]
concurrency = 64
retry = {{ delay = "20ms", max_attempts = 12 }}
restart = {{ delay = "10ms", max_delay = "100ms", max_restarts = "off" }}
[[worker]]
type = "WA"
plugin = "rest"
concurrency = 256
listen = {{ http = "127.0.0.1:0" }}
[worker.config]
linger = "{LINGER_MS}ms"
[[worker]]
type = "WD"
plugin = "pilot"
instances = {pilots}
timeout = "{pilot_timeout}s"
[[worker]]
type = "WB"
plugin = "db"
concurrency = 4
[worker.config]
path = "movies.db"
# Answers that grow with every movie added would be growth that is not the host's.
list_limit = 20
[[worker]]
type = "HG"
plugin = "{SOURCE}"
[worker.config]
journal = "{journals}"
count = 5_000_000
in_flight = 4
think_us = 20_000
"#
        );
        if self.guest {
            text += &format!("[[worker]]\ntype = \"EC\"\nplugin = \"{GUEST}\"\n");
        }
        for stage in 0..STAGES {
            let (name, worker_type, _) = PLUGINS[3 + stage];
            let (instances, seed) = (self.stages[stage], self.seeds[stage]);
            let trouble = match self.trouble {
                Some((at, trouble)) if at == stage => trouble.lines(),
                _ => "failures = 5",
            };
            text += &format!(
                "[[worker]]\ntype = \"{worker_type}\"\nplugin = \"{name}\"\ninstances = {instances}\n[worker.config]\n\
                 journal = \"{journals}\"\nseed = {seed}\n{trouble}\n"
            );
        }
        text
    }
}

impl StageTrouble {
    fn lines(self) -> &'static str {
        match self {
            Self::Slow => "slow = 500\nslow_ms = 300",
            Self::StartPanics => "panics = true",
            Self::Fails => "failures = 200",
        }
    }
}
