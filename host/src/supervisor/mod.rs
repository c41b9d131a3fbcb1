//! The supervisor: makes what runs equal to what `topology.toml` and `plugins/` say.
//!
//! [`Host`] builds everything once. Then [`reconcile`] does one thing whenever something changed: read the topology, load
//! what is new on the [`shelf`], plan, diff with what was planned before, and tell each slot's [`keeper`] its new wish.
//! Keepers get there by themselves, in the steps of [`slot_state`], and park a worker that [`restarts`] too often; a
//! [`lease`] retires a generation once nobody needs it.
//!
//! A bus and what goes with it is a [`side`]; mostly there is one among the [`sides`]. A change of `[bus]` opens another ([`moves`]); each slot is swapped to it like for any
//! other reason, and the old side is seen off ([`departure`]).

mod board;
mod canary;
mod carry;
#[cfg(test)]
mod carry_tests;
mod departure;
mod host;
mod keeper;
mod lease;
mod letters;
mod moves;
#[cfg(test)]
mod moves_tests;
mod open_bus;
mod outlook;
mod preview;
mod prove;
mod reconcile;
mod report;
mod requests;
mod restart_asked;
mod restarts;
mod shelf;
mod side;
mod sides;
mod slot_state;
mod takeover;
mod transit;
mod trial;
mod unfinished;
mod view;

pub use host::{Host, HostError};
pub use letters::BusLetters;
pub use open_bus::open_bus;
pub use preview::{PreviewError, preview_start};
