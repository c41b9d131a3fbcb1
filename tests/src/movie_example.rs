//! The movie example in a folder of its own: three plugins, a database, free ports.

use std::fs::read;
use std::net::SocketAddr;

use crate::fixtures::{self, PILOT_VERSION};
use crate::host_process::{HostProcess, HostSite};

/// The topology of the example, on ports that are free; each part can be changed by a test.
#[derive(Debug, Clone)]
pub struct MovieTopology {
    /// `bus.url`
    pub bus: String,
    /// `bus.codec`
    pub codec: &'static str,
    /// Whether there is a pilot.
    pub pilot: bool,
    /// How many pilots.
    pub pilots: usize,
    /// Lines for the pilot's `[[worker]]`.
    pub pilot_lines: String,
    /// Lines for the `[worker.config]` of the HTTP edge.
    pub edge_config: String,
}

impl Default for MovieTopology {
    fn default() -> Self {
        let (pilot_lines, edge_config) = (String::new(), String::new());
        Self { bus: "embedded".into(), codec: "msgpack", pilot: true, pilots: 1, pilot_lines, edge_config }
    }
}

impl MovieTopology {
    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { bus, codec, pilots, pilot_lines, edge_config, .. } = self;
        let pilot = if self.pilot {
            format!("[[worker]]\ntype = \"WD\"\nplugin = \"pilot\"\ninstances = {pilots}\n{pilot_lines}\n")
        } else {
            String::new()
        };
        format!(
            r#"
[host]
admin = "127.0.0.1:0"
debounce = "50ms"
[bus]
url = "{bus}"
codec = "{codec}"
[[worker]]
type = "WA"
plugin = "rest"
concurrency = 512
listen = {{ http = "127.0.0.1:0" }}
[worker.config]
{edge_config}
{pilot}
[[worker]]
type = "WB"
plugin = "db"
concurrency = 4
[worker.config]
path = "movies.db"
"#
        )
    }
}

/// Starts the example and waits until it serves.
#[must_use]
pub fn serve(topology: &MovieTopology, environment: &[(&str, &str)]) -> (HostProcess, SocketAddr) {
    let site = HostSite::new();
    for name in ["rest", "pilot", "db"] {
        site.plugin(&fixtures::example(name));
    }
    site.topology(&topology.text());
    let host = HostProcess::start(site, environment);
    for worker_type in ["WA", "WB"] {
        host.until_running(worker_type, 1);
    }
    if topology.pilot {
        host.until_running("WD", topology.pilots);
    }
    let address = host.http("WA");
    (host, address)
}

/// The pilot, built as this version of itself: 8 characters, which its answers show as `x-served-by`.
///
/// # Panics
/// Where the library does not hold its version where it did when this was written.
#[must_use]
pub fn pilot(version: &str) -> Vec<u8> {
    let mut library = read(fixtures::example("pilot")).expect("the pilot is built");
    let places = places_of(&library, PILOT_VERSION.as_bytes());
    assert!(!places.is_empty() && version.len() == PILOT_VERSION.len(), "cannot make the pilot {version}");
    for place in places {
        library[place..place + PILOT_VERSION.len()].copy_from_slice(version.as_bytes());
    }
    library
}

/// Where a library holds these bytes.
#[must_use]
pub fn places_of(bytes: &[u8], mark: &[u8]) -> Vec<usize> {
    bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark).map(|(place, _)| place).collect()
}
