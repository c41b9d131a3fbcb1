//! mshost and the workers and managers of MicroServices.js on one broker, in each codec.
//!
//! The side of MicroServices.js is `tests/peer/`: see `mshost_tests::peer`. Each test has a virtual host of its own.

mod bare_worker;
mod failures;
mod hosts;
mod jobs;
mod listing;
mod malformed;
mod peer_behaviour;
mod support;
