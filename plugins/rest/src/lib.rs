//! The HTTP edge of the movie example (`WA`): requests become jobs for `WD:*`, answers become responses.
//!
//! [`server`] has the connections (each a [`stream`]), [`service`] turns a request into a question and waits for its answer in [`pending`].
//! Neither knows the bus; this file is the worker.

pub mod config;
pub mod message;
pub mod pending;
pub mod reply;
pub mod route;
pub mod server;
pub mod service;
pub mod stream;
pub mod units;
mod worker;
