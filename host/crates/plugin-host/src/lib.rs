//! Plugin files and the plugins that are loaded from them.
//!
//! A file in the plugin folder ([`watch`]) is loaded ([`loader`]) and becomes a [`Generation`]: one version of one plugin, with
//! host threads of its own ([`executor`]). The host's tasks run on these threads as local tasks ([`Generation::spawn`]), start
//! [`Instance`]s there and poll their handlers in place.
//!
//! Invariant: no other thread ever runs the plugin's code. That is what makes unloading safe.

pub use mshost_plugin_api::{Manifest as PluginInfo, Unload, WorkerKind, WorkerManifest as WorkerInfo};

mod executor;
mod generation;
mod generation_state;
mod host_services;
mod instance;
mod loader;
mod panic_site;
mod plugin_log;
pub mod watch;

pub use executor::{Lane, LaneError, LaneTask};
pub use generation::{Generation, LoadOptions, Retired};
pub use generation_state::GenerationState;
pub use host_services::{HostServices, JobHeader, SendOutcome, SendRequest};
pub use instance::{HandlerError, Instance, StateSnapshot};
pub use loader::{LoadError, LoadFailure, MappedLibraries, ShadowCopy, free_thread_keys};
pub use loader::{PROBE_OPTION, probe, probe_main, program, set_probe_program};
pub use plugin_log::{log_event, log_level};
