//! mshost: a declarative plugin host for message-bus workers.
//!
//! A reconcile loop makes what runs equal to what `topology.toml` and `plugins/` say, and every worker it runs meets the bus
//! through one small interface. This crate is the top of the host: the commands, the admin server and the supervisor. The
//! layers below it are crates of their own in `host/crates`; a crate uses only those below it, which Cargo enforces.

pub mod admin;
pub mod cli;
pub mod supervisor;
