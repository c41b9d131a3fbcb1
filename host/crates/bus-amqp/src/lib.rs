//! The bus over RabbitMQ.
//!
//! ```text
//!                      amqp_bus                              the public face: one call, one module
//!     supervisor   consumer/   retries   dead_letters   …    the tasks
//!                  shared_consumers   job_publishing         what several tasks do
//!                       engine                               what all of them share
//!     publisher/   sessions/   malformed_log   rejoin_barrier
//!                  message/                                  a job as a message
//!                  broker_objects/                           exchanges and queues: names and arguments
//!                  link/                                     connections, and whether the broker answers
//! ```
//!
//! [`supervisor`] keeps two connections up. [`publisher`] sends through one; each worker has a session on the other ([`consumer`]).
//! [`retries`], [`broker_dead_letters`], [`notifications`], [`msjs_events`] and [`leader`] are the tasks of the host itself.
//! After a reconnect everything is declared and consumed again, then senders go on with what was not confirmed.
//!
//! Invariants:
//! - Every question to the broker goes through [`link::connection::BrokerLink::answer`], which has a time limit.
//! - A message is published by the publisher alone, and an ack follows the confirm of what it depends on.
//! - Modules use only those below them in the picture.

mod amqp_bus;
mod amqp_error;
mod broker_dead_letters;
mod broker_objects;
mod clock;
mod consumer;
mod dead_letters;
mod engine;
mod job_publishing;
mod leader;
mod link;
mod malformed_log;
mod message;
mod msjs_events;
mod notifications;
mod options;
mod publisher;
mod rejoin_barrier;
mod retries;
mod sessions;
mod shared_consumers;
mod supervisor;

pub use amqp_bus::AmqpBus;
pub use options::AmqpOptions;
