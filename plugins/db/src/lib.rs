//! The database worker of the movie example (`WB`): it answers queries from an SQLite file.
//!
//! [`answer`] does the work and [`store`] keeps the movies, neither knows the bus; this file is the worker.

pub mod answer;
pub mod config;
pub mod message;
pub mod movie;
pub mod schema;
pub mod store;
mod worker;
