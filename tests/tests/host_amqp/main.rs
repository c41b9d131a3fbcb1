//! Hosts on RabbitMQ: several of them, with MicroServices.js beside them, and with everything around them breaking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bus_migration;
mod cluster;
mod dead_letters;
mod history;
mod managers;
mod msjs;
