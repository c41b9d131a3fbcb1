//! What the bus over RabbitMQ does when things break: each test breaks one thing on a broker of its own, or on a name of
//! its own on the shared one.

mod cancelled_next;
mod connection;
mod delivery_guarantees;
mod foreign_messages;
mod load;
mod quorum_warmup;
mod refusals;
mod retries;
mod support;
mod unresponsive_broker;
