//! The host as its user has it: the program, with a topology and plugins. Where a job has a choice it is on the embedded bus.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_plugins;
mod canary;
mod cgroup;
mod edge_reload;
mod file_watching;
mod isolation;
mod movie_example;
mod plan;
mod plugin_failures;
mod plugin_log;
mod reload;
mod shutdown;
mod starting;
mod stateful_reload;
