//! The connections to the broker.
//!
//! A [`connection::BrokerLink`] is a pair of connections; [`connectivity`] says which one there is and whether the broker takes
//! messages. [`broker_address`] and [`broker_tls`] know how to connect.

pub(crate) mod broker_address;
mod broker_tls;
pub(crate) mod connection;
pub(crate) mod connectivity;
