//! A worker's consumers on the broker, as one session.
//!
//! [`session`] is the one task that starts and cancels consumers. It is in one of the phases of [`session_phase`]; what it does in
//! each is in [`broker_side`], and what a command changes in [`command_effects`]. So it makes what it consumes equal to what the
//! worker wants ([`crate::sessions::demand`]). The worker's end is [`amqp_consumer`], which takes messages from the session's
//! [`job_inbox`] and sends it commands. Each job is settled ([`settlement`]) on the [`session_channel`] that it came by, with few acks
//! ([`ack_batch`]).
//!
//! | step | where |
//! |---|---|
//! | declare and bind the queues of the worker | [`worker_queues`] |
//! | count a job that comes again, or give it up | [`redelivery`] |
//! | hand back what was delivered and not started | [`unstarted_deliveries`] |
//! | show other hosts that jobs of a type are in hand | [`in_hand_marker`] |
//! | delete the queues that a worker leaves | [`queue_cleanup`] |
//!
//! Invariants:
//! - A stream of deliveries is in the inbox or owned by the session task, never by a future that can be dropped.
//! - What a dropped or paused consumer was delivered and did not return goes back as it came, uncounted.

mod ack_batch;
mod amqp_consumer;
mod broker_side;
mod channel_attachment;
mod command_effects;
mod in_hand_marker;
mod job_inbox;
pub(super) mod queue_cleanup;
mod redelivery;
mod session;
mod session_channel;
mod session_phase;
mod settlement;
mod unstarted_deliveries;
mod worker_queues;

pub(super) use amqp_consumer::AmqpConsumer;
