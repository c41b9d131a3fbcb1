//! The mshost binary.
fn main() {}
