//! The ABI between a host and its plugins: calls, state, files that are no plugin, and plugins of other builds.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_files;
mod build_variants;
mod calls;
mod probe_property;
mod state;
