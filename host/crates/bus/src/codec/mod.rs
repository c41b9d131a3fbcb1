//! What the wire has: jobs and notifications as the three codecs write them.
//!
//! [`encode_job`]/[`decode_job`] and [`encode_notification`]/[`decode_notification`] are the whole of it. A payload is
//! spliced in and sliced out, never decoded. Everything that is read or written goes through `well_formed` first, one
//! bounded walk per codec: one malformed message disconnects workers of MicroServices.js for good, so none may leave here.

mod bson;
mod fields;
mod job;
mod json;
mod malformed;
mod msgpack;
mod notification;
mod shape;
mod well_formed;
mod write;

#[cfg(test)]
mod tests;

pub use job::{decode_job, encode_job};
pub use malformed::Malformed;
pub use notification::{Message, NOTIFICATIONS, POLLING, decode_notification, encode_notification, routing_key};
pub use shape::MAX_NESTING;
