//! What every layer of the host shares: identifiers, status types, metrics, the log, backoff.
//!
//! Invariant: this crate knows no layer above it. What the admin API shows is declared here, so that the worker runtime and
//! process isolation can fill it in without knowing the server that shows it.

pub mod backoff;
pub mod ids;
pub mod metrics;
pub mod status;
pub mod telemetry;
