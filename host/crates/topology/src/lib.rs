//! `topology.toml`: what the operator wrote, checked, and what follows from it.
//!
//! - [`load`] reads a file into a [`Topology`], or says in [`Diagnostics`] everything that is wrong with it, each with its
//!   place. `keys/` declares every key, `kinds/` the kinds of their values, `sections/` reads each table by its declared
//!   keys, `validate` checks what no single key shows.
//! - [`plan`](plan()) spreads a topology over the loaded plugins, one [`Slot`] an instance; [`diff`](diff()) compares what
//!   runs with what should.
//! - [`mod@reference`] makes the manual's page of the keys and the JSON Schema.
//!
//! Invariant: nothing here touches the bus, a plugin or a worker; all but [`load`] and [`parse`](parse()) are pure.
//!
//! Invariant: no key is read without its declaration, and no declared key is not read.

mod bus_migration;
mod change_reasons;
mod changed_settings;
mod config;
mod declaration;
mod diagnostics;
mod diff;
mod files;
mod interpolation;
mod keys;
mod kinds;
mod parse;
mod plan;
mod plugin_config;
mod plugin_config_check;
mod read_context;
pub mod reference;
mod render;
mod sections;
mod source;
mod suggest;
mod syntax;
mod table_reader;
mod units;
mod validate;
mod value_node;

pub use change_reasons::reasons;
pub use changed_settings::ChangedSetting;
pub use config::{
    BusConfig, CanaryConfig, HostConfig, Isolation, ManagerConfig, ParkedJobs, ProcessLimits, RestartPolicy,
    RetryPolicy, Sandbox, Topology, Watch, WorkerConfig, WorkerSpans,
};
pub use diagnostics::{Diagnostic, Diagnostics, Label, Severity};
pub use diff::{Change, Reason, diff};
pub use mshost_bus::{Absent, AmqpUrl, BusLimits, BusTls, BusUrl, Durability, Identity, JournalConfig, JournalSync};
pub use parse::{load, parse};
pub use plan::{Plan, Planned, Slot, WorkerSpec, plan};
pub use plugin_config::ConfigSpans;
pub use plugin_config_check::{check_config, check_worker};
pub use render::RenderStyle;
pub use source::{Position, SourceText};
pub use units::{UnitError, format_size, parse_duration, parse_size};
