//! The bus in process: no broker, no serialisation of the envelope, payloads shared as they are.
//!
//! - [`EmbeddedBus`] is the engine; its parts share a [`embedded_core::EmbeddedCore`].
//! - A [`queue_group`] is all that concerns one worker type: its queue, the queues of its workers' ids, its consumers. It is
//!   behind one short lock, never held across an await or while foreign code (a waker, a drop of a payload) runs: a change
//!   collects its [`deferred_effects`] under the lock and carries them out after it. Jobs are pushed to consumers, as a
//!   broker does it: round robin among those with room in their prefetch, so that no task is woken for nothing.
//! - [`consumer`] and [`settlement`] are a worker's end of it, [`send`] is a sender's.
//! - [`dead_letters`] are the jobs that were given up; [`expiry`] gives up those whose deadline passes.
//! - [`retry_timer`] holds the jobs whose retry is not due yet.
//! - With a [`journal`] accepted jobs and dead letters outlive the host, and [`restore`] brings them back; without one nothing is
//!   written.

mod consumer;
mod consumer_state;
mod dead_letters;
mod deferred_effects;
mod embedded_bus;
mod embedded_core;
mod expiry;
mod group_state;
mod job_queue;
mod journal;
mod leadership;
mod notifier;
mod queue_group;
mod restore;
mod retry_task;
mod retry_timer;
mod send;
mod settlement;
mod stored_job;

#[cfg(test)]
mod tests;

pub use embedded_bus::{EmbeddedBus, EmbeddedOptions};
pub use mshost_bus::{JournalConfig, JournalSync};
