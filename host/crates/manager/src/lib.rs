//! The SystemManager: who is on the bus.
//!
//! [`Manager`] listens to the bus and asks it at intervals who is there; [`Registry`] is what it knows, for anybody to
//! read at any time. The manager routes nothing: the bus itself tells a sender that nobody can take its job. The
//! registry adds what a bus cannot know, that a worker which it still has a queue for is gone ([`Registry::is_gone`]).
//!
//! Where several hosts share a bus, every manager keeps a registry by listening, and one of them is active: it alone asks,
//! and has tidied up what the dead leave behind. The others take its questions, and those of the original's manager, for
//! their own: whoever answers none expires everywhere.

mod gone;
mod graves;
mod questions;
mod registry;
mod service;

pub use registry::{Added, KnownWorker, Registry, Served};
pub use service::{Manager, ManagerConfig};
