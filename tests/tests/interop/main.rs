//! mshost and the workers and managers of the original on one broker, in each codec.
//!
//! The original's side is `tests/peer/`: see `mshost_tests::peer`. Each test has a virtual host of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod failures;
mod hosts;
mod jobs;
mod listing;
mod malformed;
mod native;
mod peers;
mod support;
