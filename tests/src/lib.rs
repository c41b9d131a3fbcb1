//! What the tests of mshost share.

pub mod conformance;
pub mod hop;
