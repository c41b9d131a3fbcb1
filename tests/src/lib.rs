//! What the tests and benchmarks of mshost share.

pub mod baseline;
pub mod conformance;
pub mod hop;
pub mod load;
pub mod table;
