//! What the tests and benchmarks of mshost share.

pub mod baseline;
pub mod conformance;
pub mod load;
pub mod table;
