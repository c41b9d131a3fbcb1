//! What the tests and benchmarks of mshost share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod baseline;
pub mod bench_table;
pub mod broker;
pub mod certificate_authority;
pub mod cluster;
pub mod conformance;
pub mod counter_fixture;
pub mod embedded_hop;
pub mod env_settings;
pub mod fixtures;
pub mod footprint;
pub mod growth_curve;
pub mod heavy;
pub mod history;
pub mod host_process;
pub mod http_clients;
pub mod http_request;
pub mod load;
pub mod module_graph;
pub mod movie_example;
pub mod peer;
pub mod plugin_runner;
pub mod remote_bus;
pub mod seeded_rng;
pub mod socket_hop;
pub mod tcp_proxy;
pub mod throughput;
pub mod tls_listener;
pub mod wait;
