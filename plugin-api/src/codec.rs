//! How data is written on the bus: JSON, BSON or MessagePack, one for the whole bus.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The codec of a bus (`data_transfer_protocol` in the original).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Codec {
    /// JSON text.
    Json,
    /// BSON. Only documents can stand at its top level, so a payload is the document `{data: PAYLOAD}`.
    Bson,
    /// MessagePack, maps with names.
    #[default]
    MsgPack,
}

impl Codec {
    /// Every codec there is.
    pub const ALL: [Self; 3] = [Self::Json, Self::Bson, Self::MsgPack];

    /// The name that the original's configuration uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Bson => "BSON",
            Self::MsgPack => "msgpack",
        }
    }

    /// The media type that goes into AMQP's `content-type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Bson => "application/bson",
            Self::MsgPack => "application/msgpack",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    /// Any case, and `MessagePack` as well as `msgpack`: in the original such a spelling silently means JSON.
    fn from_str(text: &str) -> Result<Self, UnknownCodec> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "bson" => Ok(Self::Bson),
            "msgpack" | "messagepack" => Ok(Self::MsgPack),
            _ => Err(UnknownCodec(text.to_owned())),
        }
    }
}

/// A codec name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected \"msgpack\", \"JSON\" or \"BSON\", found {0:?}")]
pub struct UnknownCodec(String);

/// Data that cannot be written in the bus's codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot write the data as {codec}: {reason}")]
pub struct EncodeError {
    /// The codec.
    pub codec: Codec,
    /// Its own words.
    pub reason: String,
}

/// Data that is not what its reader expects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the data as {codec}: {reason}")]
pub struct DecodeError {
    /// The codec.
    pub codec: Codec,
    /// Its own words.
    pub reason: String,
}

/// A job's data in the bus's codec: encoded once by its sender, decoded once by its receiver, never in between.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    codec: Codec,
    bytes: Bytes,
}

impl Payload {
    /// Takes bytes that are already in `codec` (for BSON: the document `{data: PAYLOAD}`). Nothing is checked here.
    #[must_use]
    pub fn from_bytes(codec: Codec, bytes: Bytes) -> Self {
        Self { codec, bytes }
    }

    /// Writes `data`.
    ///
    /// # Errors
    /// Where the codec has no way to write it.
    pub fn encode<T: Serialize + ?Sized>(codec: Codec, data: &T) -> Result<Self, EncodeError> {
        let fail = |reason: String| EncodeError { codec, reason };
        let bytes = match codec {
            Codec::Json => serde_json::to_vec(data).map_err(|e| fail(e.to_string()))?,
            Codec::MsgPack => rmp_serde::to_vec_named(data).map_err(|e| fail(e.to_string()))?,
            Codec::Bson => bson::serialize_to_vec(&Wrapper { data }).map_err(|e| fail(e.to_string()))?,
        };
        Ok(Self { codec, bytes: bytes.into() })
    }

    /// Reads the data.
    ///
    /// # Errors
    /// Where the bytes are malformed, or are not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let fail = |reason: String| DecodeError { codec: self.codec, reason };
        match self.codec {
            Codec::Json => serde_json::from_slice(&self.bytes).map_err(|e| fail(e.to_string())),
            Codec::MsgPack => rmp_serde::from_slice(&self.bytes).map_err(|e| fail(e.to_string())),
            Codec::Bson => bson::deserialize_from_slice::<Wrapper<T>>(&self.bytes)
                .map(|wrapper| wrapper.data)
                .map_err(|e| fail(e.to_string())),
        }
    }

    /// The codec.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The bytes as they are.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.codec, self.bytes.len())
    }
}

#[derive(Serialize, serde::Deserialize)]
struct Wrapper<T> {
    data: T,
}
