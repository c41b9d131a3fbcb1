//! Errors of the bus.

/// What an operation of the bus can fail with, each cause with its own sentence. [`Bus::send`](crate::Bus::send) has
/// [`SendError`](crate::SendError), which plugins see.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// It is closed, for good.
    #[error("the bus is closed")]
    Closed,
    /// It cannot be reached, or does not answer in time. It may be tried again.
    #[error("the bus cannot be reached: {0}")]
    Unavailable(String),
    /// It was reached, and did not accept the message: a queue is full, or none is there for it. It may be tried again.
    #[error("the bus did not accept the message: {0}")]
    NotAccepted(String),
    /// It is not known whether it accepted the message: the connection broke before it was confirmed. Trying again may
    /// deliver it twice.
    #[error("the bus may have accepted the message, or not: {0}")]
    Doubtful(String),
    /// The message is larger than it takes.
    #[error("the message has {size} bytes, the bus takes at most {limit} (`bus.max_message`)")]
    TooLarge {
        /// The message's size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// It refuses the operation, and would again.
    #[error("{what}: {reason}")]
    Refused {
        /// What was tried.
        what: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// A message cannot be written in the bus's codec.
    #[error(transparent)]
    Encode(#[from] mshost_plugin_api::EncodeError),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mshost_plugin_api::{Codec, EncodeError};

    use super::*;

    #[test]
    fn each_cause_has_its_own_sentence() {
        let why = || "why".to_owned();
        let causes = [
            BusError::Closed,
            BusError::Unavailable(why()),
            BusError::NotAccepted(why()),
            BusError::Doubtful(why()),
            BusError::TooLarge { size: 2, limit: 1 },
            BusError::Refused { what: "joining as WB:1".to_owned(), reason: why() },
            BusError::Encode(EncodeError { codec: Codec::Bson, reason: why() }),
        ];
        let sentences: BTreeSet<_> = causes.iter().map(ToString::to_string).collect();
        assert_eq!(sentences.len(), causes.len(), "{sentences:#?}");
    }
}
