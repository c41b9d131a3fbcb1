//! Canary evaluation: a new version of a plugin first does a share of the jobs beside the old one, and replaces it only if it
//! fails no more often (`[host] canary`, [`CanaryConfig`](mshost_topology::CanaryConfig)).
//!
//! # How a version is evaluated
//! The plugin store begins a [`CanaryEvaluation`](evaluation::CanaryEvaluation) when it loads a version in place of another
//! ([`candidate`]). Each slot of the plugin then starts a worker of the new version beside the old one, which takes its share of
//! the slot's jobs ([`slot_canary`]). The attempts of all slots are added up by worker type, both versions over the same time,
//! so that what makes jobs fail for both decides nothing. There is one [`verdict`] for the whole version: as soon as one
//! type is worse it is rejected everywhere, and where none is in the end it is accepted everywhere. The file of a version that
//! was rejected is not tried again until it changes.
//!
//! Workers that keep state do not take part, since half of the state would be with each of two: they wait for the verdict. A
//! worker that brings its work in itself, such as an HTTP edge, gets what its socket gives it, which is about half.
//!
//! # What a share costs
//! While no version is evaluated a canary costs nothing: a worker without a share takes no step for it.
//!
//! The share is kept by pausing: the canary counts what both workers of the slot have taken, and once it has had its share it
//! stops consuming from the queue of the type until its turn comes again. On the embedded bus a pause is a flag. On RabbitMQ
//! it is a `basic.cancel`, and its end a `basic.consume`: AMQP has no other way to hold back one consumer of a queue that its
//! peer goes on consuming from. (A prefetch of 1 does not hold a share: two idle consumers get jobs in turn. A changed
//! `basic.qos` counts for new consumers only. A consumer with a lower priority gets no jobs until the other is at its limit.)
//! A canary that has paused looks every 20 ms whether it may go on, so that the price for each slot is at most
//!
//! > `min(50, share × jobs per second of the slot)` pairs of cancel and consume per second.
//!
//! # Which share is sensible on RabbitMQ
//! - **From 0.05 to 0.25; the default is 0.1.** At 100 jobs per second 0.1 is ten pairs per second for each slot, for the 30 s of
//!   an evaluation. Each pair is two round trips, which a quorum queue also has to agree on.
//! - A share above 0.25 buys little: `min_jobs` is reached sooner by a longer `for` at a lower price.
//! - `concurrency × share` below 2 hands nothing back. The canary's prefetch is `concurrency × share`, rounded down, at least 1; of
//!   what it has prefetched when it pauses, what no handler has begun goes back to the queue.
//! - With few jobs, see that `share × jobs per second × for` is well above `min_jobs`, or the version is accepted with too few
//!   attempts to tell.

pub(super) mod candidate;
pub(super) mod evaluation;
pub(super) mod slot_canary;
pub(super) mod verdict;
