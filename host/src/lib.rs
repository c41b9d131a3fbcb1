//! mshost: a declarative plugin host for message-bus workers.
//!
//! A reconcile loop makes what runs equal to what `topology.toml` and `plugins/` say, and every worker it runs meets
//! the bus through one small interface. Data flows one way; a module uses only the modules below it in this list:
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the commands |
//! | [`supervisor`] | the reconcile loop: start, swap, drain, restart |
//! | [`isolation`] | workers in processes of their own, joined to the bus by a socket |
//! | [`worker`] | the life of one worker: announce, take, handle, settle, retry |
//! | [`plugin`] | plugin files: shadow copy, probe, load, generations |
//! | [`interop`] | the original's workers: their jobs to ours, ours to them |
//! | [`manager`] | the SystemManager: who is on the bus |
//! | [`bus`] | notifications and jobs; two engines, three codecs |
//! | [`topology`] | `topology.toml`: parse, validate, plan, diff |
//! | [`admin`], [`metrics`], [`telemetry`] | seeing it |
//! | [`ids`], [`backoff`] | what things are called, how long to wait |

pub mod admin;
pub mod backoff;
pub mod bus;
pub mod cli;
pub mod ids;
pub mod interop;
pub mod isolation;
pub mod manager;
pub mod metrics;
pub mod plugin;
pub mod supervisor;
pub mod telemetry;
pub mod topology;
pub mod worker;
