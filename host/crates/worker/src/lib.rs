//! The life of one worker: start, join, announce, take, handle, settle, drain, leave.
//!
//! A worker is a local task on a lane of its plugin's generation ([`life`]); it does its jobs there ([`attempt`]), and its
//! plugin sends through its [`outbox`], where a [`gate`] holds its tasks back until it can be reached. The [`switchboard`] hears the bus once for all workers of the host, and
//! [`sockets`] holds the listening sockets that outlive them. The supervisor holds a [`Worker`] for each.

mod alarm;
mod attempt;
mod closing;
mod counters;
mod drain;
mod elsewhere;
mod expected;
mod fresh;
mod gate;
mod handle;
mod handover;
mod life;
mod outbox;
mod pace;
mod reach;
mod refuse;
mod sockets;
mod state;
mod stragglers;
mod switchboard;

use std::sync::Arc;

pub use closing::Closing;
pub use elsewhere::Elsewhere;
pub use expected::{Expectation, Expected};
pub use fresh::worker_id as fresh_id;
pub use handle::{Progress, Trouble, Worker};
pub use handover::Entrance;
pub use handover::{Order, Told};
pub use pace::Share;
pub use reach::{Prospect, Reach};
pub use refuse::refuse_jobs;
pub use sockets::{BindError, Listeners, Sockets};
pub use state::{StartFailure, WorkerState};
pub use stragglers::Stragglers;
pub use switchboard::Switchboard;

use mshost_bus::{Absent, Bus};
use mshost_core::metrics::Metrics;
use mshost_manager::Registry;

/// What all workers of a host share.
#[derive(Clone)]
pub struct Surroundings {
    /// The bus that they meet on.
    pub bus: Arc<dyn Bus>,
    /// Who else is there, as the manager knows.
    pub registry: Arc<Registry>,
    /// Who is about to be there.
    pub expected: Expected,
    /// Where they are heard.
    pub switchboard: Arc<Switchboard>,
    /// What they are counted by.
    pub metrics: Arc<Metrics>,
    /// Where they hear that the host is to end.
    pub closing: Closing,
    /// What becomes of a job for a type that has no worker now.
    pub absent: Absent,
    /// Whether there is a manager, so that `registry` knows of others.
    pub managed: bool,
    /// The most bytes of one snapshot.
    pub snapshot_limit: u64,
    /// The largest payload on the bus, in bytes.
    pub message_bytes: usize,
    /// The host's name, which tells its workers from the original's.
    pub host: Arc<str>,
}

impl Surroundings {
    /// Whom the jobs of a worker here can reach.
    #[must_use]
    pub fn reach(&self) -> Reach {
        Reach { registry: Arc::clone(&self.registry), expected: self.expected.clone(), absent: self.absent }
    }
}
