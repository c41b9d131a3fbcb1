//! The least that could do the same work, to measure the host against: no plugins, no reload, no limits, no metrics.

pub mod amqp;
pub mod http;
