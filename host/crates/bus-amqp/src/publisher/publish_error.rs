//! Why a message was not published, each cause with its own sentence for the user.

use mshost_bus::{BusError, SendError};
use mshost_core::ids::Address;
use mshost_plugin_api::EncodeError;

/// Why it is not known that a message has arrived.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PublishError {
    /// It cannot be written in the bus's codec.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// No queue is there for it.
    #[error("the broker has no queue for the message")]
    Unroutable,
    /// The broker refuses it: its queue is full.
    #[error(
        "{broker}: the queue of {key} is full (`bus.queue_limit`, `bus.dead_letter_limit`) and did not take the message within \
         `bus.send_timeout`"
    )]
    Refused {
        /// The broker.
        broker: String,
        /// The routing key of the message.
        key: String,
    },
    /// No queue is there for it now, but there may have been one for a first copy, whose confirm never came.
    #[error(
        "{broker}: the queue of {key} is not there now and may have taken the message before the connection broke; it did not come \
         back within `bus.send_timeout`"
    )]
    Doubtful {
        /// The broker.
        broker: String,
        /// The routing key of the message.
        key: String,
    },
    /// The broker cannot be reached, takes no messages, or does not confirm them in time.
    #[error("{0}")]
    Unavailable(String),
    /// The bus is closed.
    #[error("the bus is closed")]
    Closed,
}

impl PublishError {
    /// What the sender of a job hears; `target` is what the job is addressed to.
    pub(crate) fn for_sender(self, target: &Address) -> SendError {
        match self {
            Self::Encode(error) => SendError::Encode(error),
            Self::Unroutable => SendError::NoWorker(target.clone()),
            other @ (Self::Refused { .. } | Self::Doubtful { .. } | Self::Unavailable(_) | Self::Closed) => {
                SendError::Unavailable(other.to_string())
            }
        }
    }
}

impl From<PublishError> for BusError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Encode(error) => Self::Encode(error),
            PublishError::Closed => Self::Closed,
            PublishError::Unavailable(reason) => Self::Unavailable(reason),
            PublishError::Doubtful { .. } => Self::Doubtful(error.to_string()),
            PublishError::Unroutable | PublishError::Refused { .. } => Self::NotAccepted(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use mshost_plugin_api::Codec;

    use super::*;

    #[test]
    fn each_cause_has_its_own_sentence() {
        let (broker, key) = ("amqp://broker:5672".to_owned(), "WB".to_owned());
        let target = Address::Any(mshost_core::ids::WorkerType::new("WB").unwrap());
        let causes = [
            PublishError::Encode(EncodeError { codec: Codec::Bson, reason: "a key is no text".into() }),
            PublishError::Unroutable,
            PublishError::Refused { broker: broker.clone(), key: key.clone() },
            PublishError::Doubtful { broker, key },
            PublishError::Unavailable("amqp://broker:5672 cannot be reached: connection refused".into()),
            PublishError::Closed,
        ];
        let to_sender: BTreeSet<_> = causes.iter().map(|cause| cause.clone().for_sender(&target).to_string()).collect();
        let to_host: BTreeSet<_> = causes.iter().map(|cause| BusError::from(cause.clone()).to_string()).collect();
        assert_eq!((to_sender.len(), to_host.len()), (causes.len(), causes.len()), "{to_sender:#?}\n{to_host:#?}");
        let closed: Vec<_> = to_sender.iter().filter(|text| text.contains("closed")).collect();
        assert_eq!(closed.len(), 1, "only a closed bus is closed: {closed:?}");
    }
}
