//! Error of a request of the child to the host.

use mshost_bus::BusError;
use mshost_core::ids::Address;
use mshost_plugin_api::{EncodeError, SendError};
use serde::{Deserialize, Serialize};

use super::codec_number::codec_of;

/// The reason why a request was refused: a [`SendError`] or [`BusError`] in serializable form.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum RequestError {
    NoWorker(Address),
    EndOfRoute(Address),
    Encode { codec: u8, reason: String },
    TooLarge { size: u64, limit: u64 },
    Unavailable(String),
    NotAccepted(String),
    Doubtful(String),
    Closed,
    Refused { what: String, reason: String },
}

impl From<SendError> for RequestError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NoWorker(address) => Self::NoWorker(address),
            SendError::EndOfRoute(address) => Self::EndOfRoute(address),
            SendError::Encode(EncodeError { codec, reason }) => Self::Encode { codec: codec as u8, reason },
            SendError::TooLarge { size, limit } => Self::TooLarge { size: size as u64, limit: limit as u64 },
            SendError::Unavailable(reason) => Self::Unavailable(reason),
            // A route that was read on this side is one.
            SendError::Route(error) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<RequestError> for SendError {
    fn from(error: RequestError) -> Self {
        let text = error.text();
        match error {
            RequestError::NoWorker(address) => Self::NoWorker(address),
            RequestError::EndOfRoute(address) => Self::EndOfRoute(address),
            RequestError::Encode { codec: written, reason } => {
                Self::Encode(EncodeError { codec: codec_of(written).unwrap_or_default(), reason })
            }
            RequestError::TooLarge { size, limit } => Self::TooLarge { size: size as usize, limit: limit as usize },
            RequestError::Unavailable(reason) => Self::Unavailable(reason),
            RequestError::Closed
            | RequestError::Refused { .. }
            | RequestError::NotAccepted(_)
            | RequestError::Doubtful(_) => Self::Unavailable(text),
        }
    }
}

impl From<BusError> for RequestError {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Closed => Self::Closed,
            BusError::Unavailable(reason) => Self::Unavailable(reason),
            BusError::NotAccepted(reason) => Self::NotAccepted(reason),
            BusError::Doubtful(reason) => Self::Doubtful(reason),
            BusError::TooLarge { size, limit } => Self::TooLarge { size: size as u64, limit: limit as u64 },
            BusError::Refused { what, reason } => Self::Refused { what, reason },
            BusError::Encode(EncodeError { codec, reason }) => Self::Encode { codec: codec as u8, reason },
        }
    }
}

impl From<RequestError> for BusError {
    fn from(error: RequestError) -> Self {
        let text = error.text();
        match error {
            RequestError::Closed => Self::Closed,
            RequestError::Refused { what, reason } => Self::Refused { what, reason },
            RequestError::Encode { codec: written, reason } => {
                Self::Encode(EncodeError { codec: codec_of(written).unwrap_or_default(), reason })
            }
            RequestError::Unavailable(reason) => Self::Unavailable(reason),
            RequestError::NotAccepted(reason) => Self::NotAccepted(reason),
            RequestError::Doubtful(reason) => Self::Doubtful(reason),
            RequestError::TooLarge { size, limit } => Self::TooLarge { size: size as usize, limit: limit as usize },
            RequestError::NoWorker(_) | RequestError::EndOfRoute(_) => Self::Unavailable(text),
        }
    }
}

impl RequestError {
    /// The message for an error type that has no variant for it.
    fn text(&self) -> String {
        match self {
            Self::Closed => BusError::Closed.to_string(),
            Self::Refused { what, reason } => format!("{what}: {reason}"),
            Self::NotAccepted(reason) => BusError::NotAccepted(reason.clone()).to_string(),
            Self::Doubtful(reason) => BusError::Doubtful(reason.clone()).to_string(),
            Self::NoWorker(address) => SendError::NoWorker(address.clone()).to_string(),
            Self::EndOfRoute(address) => SendError::EndOfRoute(address.clone()).to_string(),
            Self::TooLarge { size, limit } => {
                SendError::TooLarge { size: *size as usize, limit: *limit as usize }.to_string()
            }
            Self::Encode { reason, .. } | Self::Unavailable(reason) => reason.clone(),
        }
    }
}
