//! The bus: the traits that an engine implements, what travels over it, and how that is written on the wire.
//!
//! Jobs go to one worker of a type, or to one worker by its id; notifications go to every subscriber. There are two engines,
//! `mshost-bus-embedded` in process and `mshost-bus-amqp` over RabbitMQ, and one conformance suite that proves the same
//! observable behaviour of both. The promise is *at least once*: a job that [`Bus::send`] accepted is done, or its sender is
//! told why not; a consumer that receives it a second time sees [`Delivery::redelivered`] or a higher `attempt`.
//!
//! - [`Bus`] is what a worker needs, in whichever process it runs; [`Consumer`], [`Delivery`] and [`Subscription`] are what it
//!   receives by.
//! - [`HostBus`] is what the host has besides: the [`DeadLetterStore`], the [`Leadership`] among hosts, the [`MsjsBridge`].
//! - [`Job`], [`Notification`], [`DeadLetter`] and [`MsjsEvent`] are what travels; [`codec`] writes and reads it.
//! - [`BusUrl`], [`BusLimits`] and their like are an engine's options.

mod bus;
pub mod codec;
mod consumer;
mod dead_letters;
mod delivery;
mod error;
mod host_bus;
mod job;
mod leadership;
mod msjs;
mod notification;
mod options;
mod queue_depth;
mod state;
mod subscription;
mod url;
mod wire_job;

pub use bus::Bus;
pub use consumer::{Consumer, ConsumerOptions};
pub use dead_letters::{DeadLetter, DeadLetterStore, Death, DeathReason, EXPIRED, MAX_ERROR_BYTES, Requeued};
pub use delivery::{Delivery, Settle};
pub use error::BusError;
pub use host_bus::HostBus;
pub use job::Job;
pub use leadership::Leadership;
pub use mshost_plugin_api::{Codec, Payload, Route, SendError};
pub use msjs::{MsjsBridge, MsjsEvent, MsjsReceipt, MsjsSubscription};
pub use notification::{Announcement, Failure, Notification, PoolEntry};
pub use options::{Absent, BusLimits, BusTls, Durability, Identity, JournalConfig, JournalSync};
pub use queue_depth::{QueueDepth, type_queue};
pub use state::BusState;
pub use subscription::{Event, Subscription};
pub use url::{AmqpUrl, BusUrl};
pub use wire_job::WireJob;
