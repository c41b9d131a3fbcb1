//! The reading of each table into its part of the configuration, with what one key says about another.

pub(crate) mod broker_access;
pub(crate) mod bus;
pub(crate) mod host;
pub(crate) mod isolation;
pub(crate) mod log;
pub(crate) mod manager;
pub(crate) mod msjs;
pub(crate) mod worker;
