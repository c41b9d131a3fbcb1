//! The dead letters of the embedded bus.
//!
//! [`DeadLetterList`] holds them, [`DeadLettering`] is how the bus itself gives a job up, and `store` is what operators do with
//! them.

mod dead_lettering;
mod list;
mod store;

pub(super) use dead_lettering::DeadLettering;
pub(super) use list::DeadLetterList;
