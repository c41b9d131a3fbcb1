//! The supervisor: makes what runs equal to what `topology.toml` and `plugins/` say.
//!
//! [`Host`] builds everything once. Then the [`reconciler`] does one thing whenever something has changed: it reads the topology,
//! has the [`plugin_store`] load what is new, plans, compares with the plan before, and gives each [`slot_controller`] its new
//! desired state. Controllers get there by themselves; a version of a plugin that replaces another may have to pass a
//! [`canary`] evaluation first. Every worker belongs to a [`bus_session`], and migrates to another one when `[bus]` changes
//! ([`bus_migration`]).
//!
//! What operators see and ask for goes through the [admin server](crate::admin): [`status_board`] publishes the status,
//! [`reload_requests`] and [`worker_restart`] take requests, [`reconciler_preview`], [`reload_preview`] and [`reload_report`] answer them, and
//! [`dead_letters`] serves the dead letters.

mod bus_migration;
mod bus_session;
mod canary;
mod dead_letters;
mod host;
mod plugin_store;
mod reconciler;
mod reconciler_preview;
mod reload_preview;
mod reload_report;
mod reload_requests;
mod slot_controller;
mod status_board;
mod watched_files;
mod worker_restart;

pub use bus_session::open_bus::open_bus;
pub use dead_letters::BusDeadLetters;
pub use host::{Host, HostError};
pub use reload_preview::{PreviewError, preview_start};
