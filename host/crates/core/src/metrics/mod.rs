//! What is counted. The `microservices_*` names and labels are those of MicroServices.js, kept exactly; ours begin with
//! `mshost_`.
//!
//! Invariant: each metric is declared once, in `host_metrics.rs`; from there it is registered and comes into
//! `docs/metrics.md`.

mod declaration;
mod host_metrics;
mod page;
mod transfer;

pub use host_metrics::{MANAGER, Metrics, worker_service};
pub use page::metrics_page;
pub use transfer::{Exporter, Sample};
