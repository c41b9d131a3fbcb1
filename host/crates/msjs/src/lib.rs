//! Workers of MicroServices.js on the same broker, in both directions and with nothing to configure.
//!
//! The registry tells them from workers of mshost: their announcements name no host. [`proxies`] consume in the name of each of
//! them, so that senders need not know which kind of worker they send to; they publish what they receive as `worker.next` until a
//! worker says that it has taken it ([`pending_acks`]). [`job_intake`] takes the `worker.next` that are for workers of mshost,
//! each once ([`deduplication`]), and leaves the others to MicroServices.js. One host at a time does all this: the one that
//! leads.
//!
//! What is promised ends at the ack of MicroServices.js, which comes before the work. A type that both kinds serve is mshost's
//! for senders of mshost and MicroServices.js's for its own, and an error in the log: no pool of MicroServices.js counts right
//! with workers of mshost in it.

mod counters;
mod deduplication;
mod gateway;
mod job_intake;
mod pending_acks;
mod proxies;
#[cfg(test)]
mod proxies_tests;
mod wording;

pub use gateway::MsjsGateway;
