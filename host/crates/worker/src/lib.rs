//! The life of one worker: start, join, announce, take, handle, settle, drain, leave.
//!
//! A worker is a local task on a lane of its plugin's generation ([`life`]); it does its jobs there ([`attempt`]), and its
//! plugin sends through its [`outbox`], where a [`gate`] holds its tasks back until it can be reached. The [`switchboard`] hears the bus once for all workers of the host, and
//! [`sockets`] holds the listening sockets that outlive them. The supervisor holds a [`Worker`] for each.

mod alarm;
mod attempt;
mod closing;
mod consumer_driver;
mod context;
mod counters;
mod elsewhere;
mod expected;
mod fresh;
mod gate;
mod handle;
mod host_context;
mod life;
mod lifecycle;
mod outbox;
mod pace;
mod phase;
mod plugin_drain;
mod plugin_instance;
mod progress;
mod reach;
mod refuse;
mod request;
mod serving;
mod sockets;
mod start_mode;
mod state;
mod stragglers;
mod switchboard;

pub use closing::Closing;
pub use elsewhere::Elsewhere;
pub use expected::{Expectation, Expected};
pub use fresh::worker_id as fresh_id;
pub use handle::{Trouble, Worker};
pub use host_context::Surroundings;
pub use pace::Share;
pub use phase::SnapshotResult as Told;
pub use progress::Progress;
pub use reach::{Prospect, Reach};
pub use refuse::refuse_jobs;
pub use request::Order;
pub use sockets::{BindError, Listeners, Sockets};
pub use start_mode::Entrance;
pub use state::{StartFailure, WorkerState};
pub use stragglers::Stragglers;
pub use switchboard::Switchboard;
