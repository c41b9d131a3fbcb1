//! The database worker of the movie example (`WB`): it answers queries from an SQLite file.
//!
//! [`answer`] does the work and [`store`] keeps the movies, neither knows the bus. While one version of this
//! plugin takes over from another, [`ownership`] sees to it that only one of them uses the file.

pub mod answer;
pub mod config;
pub mod message;
pub mod movie;
pub mod ownership;
pub mod schema;
pub mod store;
mod worker;
