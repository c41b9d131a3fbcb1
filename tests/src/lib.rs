//! What the tests of mshost share.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod broker;
pub mod conformance;
pub mod hop;
pub mod proxy;
