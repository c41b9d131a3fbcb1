//! What the tests and benchmarks of mshost share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod authority;
pub mod baseline;
pub mod broker;
pub mod cluster;
pub mod conformance;
pub mod counter;
pub mod curve;
pub mod dice;
pub mod fixtures;
pub mod footprint;
pub mod history;
pub mod hop;
pub mod host;
pub mod http;
pub mod knobs;
pub mod laps;
pub mod load;
pub mod module_graph;
pub mod movie;
pub mod patrons;
pub mod peer;
pub mod plugins;
pub mod proxy;
pub mod remote;
pub mod socket_hop;
pub mod table;
pub mod tls_listener;
pub mod wait;
