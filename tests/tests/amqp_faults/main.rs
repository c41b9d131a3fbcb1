//! What the bus over RabbitMQ does when things break: each test breaks one thing on a broker of its own, or on a name of
//! its own on the shared one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod connection;
mod load;
mod promises;
mod refusals;
mod retries;
mod silence;
mod strangers;
mod support;
mod young_queues;
