//! The bus, without plugins: each engine does what every bus must do, and the one over RabbitMQ does it whatever breaks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod amqp_faults;
mod amqp_tls;
mod conformance_amqp;
mod conformance_embedded;
mod conformance_remote;
mod wire_format;
