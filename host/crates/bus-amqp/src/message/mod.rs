//! A job as an AMQP message, and back.

pub(super) mod decode;
pub(super) mod headers;
pub(super) mod outgoing;
pub(super) mod writer;
