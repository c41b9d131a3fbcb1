//! The HTTP edge over real sockets, with a bus of the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod drain;
mod limits;
mod requests;
mod server;
