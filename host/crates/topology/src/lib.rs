//! `topology.toml`: what the user wrote, checked, and what follows from it.
//!
//! [`load`] reads a file into a [`Topology`] or says in [`Diagnostics`] everything that is wrong with it, each with its
//! place. [`plan`](plan()) spreads it over the loaded plugins, one [`Slot`] an instance; [`diff`](diff()) compares what
//! runs with what should. Nothing here touches the bus, a plugin or a worker: all but `load` are pure.

mod access;
mod bus_move;
mod canary;
mod config;
mod diagnostics;
mod diff;
mod files;
mod interpolate;
mod isolation;
mod journal;
mod json;
mod legacy;
mod parse;
mod plan;
mod render;
mod sandbox;
mod schema;
mod sections;
mod settings;
mod source;
mod suggest;
mod syntax;
mod units;
mod validate;
mod values;
mod walk;
mod why;
mod workers;

pub use canary::CanaryConfig;
pub use config::{
    BusConfig, HostConfig, ManagerConfig, ParkedJobs, RestartPolicy, RetryPolicy, Topology, Watch, WorkerConfig,
    WorkerSpans,
};
pub use diagnostics::{Diagnostic, Diagnostics, Label, Severity};
pub use diff::{Change, Reason, diff};
pub use isolation::{Isolation, ProcessLimits};
pub use json::ConfigSpans;
pub use mshost_bus::{Absent, AmqpUrl, BusLimits, BusTls, BusUrl, Durability, Identity, JournalConfig, JournalSync};
pub use parse::{load, parse};
pub use plan::{Plan, Planned, Slot, WorkerSpec, plan};
pub use render::Style;
pub use sandbox::Sandbox;
pub use schema::{check_config, check_worker};
pub use settings::ChangedSetting;
pub use source::{Position, Source};
pub use units::{UnitError, format_size, parse_duration, parse_size};
pub use why::reasons;
