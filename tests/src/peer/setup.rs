//! How a peer is set up and started.

use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::Peer;
use crate::host_process::repository;

/// What to do where Node or the peer's packages are missing.
const INSTALL: &str = "run `.ci/install-peer` (or `make test`, which does)";

/// A peer that has not started yet. What is not set is as in the original.
#[derive(Debug, Clone)]
pub struct PeerSetup(pub(super) Value);

impl PeerSetup {
    pub(super) fn with(mut self, key: &str, value: Value) -> Self {
        self.0[key] = value;
        self
    }

    /// For a worker: sends its results to this pipeline instead of to the next of the job's. `"$sender"` stands for the id of
    /// the job's sender.
    #[must_use]
    pub fn to(self, addresses: &[&str]) -> Self {
        self.with("to", json!(addresses))
    }

    /// For a worker: the result is the data as it came, without its id in `data.trace`.
    #[must_use]
    pub fn echo(self) -> Self {
        self.with("does", json!("echo"))
    }

    /// For a worker: how long each job takes. The original does any number of them at the same time.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        self.with("delay", json!(u64::try_from(delay.as_millis()).expect("a short delay")))
    }

    /// For a worker: does not ack what it takes, so that whoever sent it sends it again.
    #[must_use]
    pub fn silent(self) -> Self {
        self.with("silent", json!(true))
    }

    /// For a manager: asks who is there not only at its start, but as often as this.
    #[must_use]
    pub fn keepalive(self, every: Duration) -> Self {
        self.with("keepalive", json!(u64::try_from(every.as_millis()).expect("a short keepalive")))
    }

    /// For a manager: the `target` of its errors is the sender's id, and not the object that the original's workers do not
    /// recognise.
    #[must_use]
    pub fn target_id(self) -> Self {
        self.with("target", json!("id"))
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// Where Node or the packages are missing, or it cannot connect; the message says what to do.
    #[must_use]
    pub fn start(self) -> Peer {
        let folder = repository().join("tests/peer");
        assert!(folder.join("node_modules").is_dir(), "the packages of {} are missing: {INSTALL}", folder.display());
        let mut command = Command::new("node");
        command.arg(folder.join("peer.js")).arg(self.0.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => panic!("Node.js is not installed: {INSTALL}"),
            child => child.expect("node starts"),
        };
        Peer::follow(child)
    }
}
