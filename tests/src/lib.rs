//! What the tests and benchmarks of mshost share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod baseline;
pub mod broker;
pub mod conformance;
pub mod hop;
pub mod load;
pub mod proxy;
pub mod table;
