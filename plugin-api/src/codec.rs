//! Codecs of data on the bus: JSON, BSON or MessagePack, one for the whole bus.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The codec of a bus (`data_transfer_protocol` in MicroServices.js).
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
    /// All codecs.
    pub const ALL: [Self; 3] = [Self::Json, Self::Bson, Self::MsgPack];

    /// The name in the configuration of MicroServices.js.
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

    /// Any case, and `MessagePack` as well as `msgpack`: in MicroServices.js such a spelling silently means JSON.
    fn from_str(text: &str) -> Result<Self, UnknownCodec> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "bson" => Ok(Self::Bson),
            "msgpack" | "messagepack" => Ok(Self::MsgPack),
            _ => Err(UnknownCodec(text.to_owned())),
        }
    }
}

/// The error of an unknown codec name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected \"msgpack\", \"JSON\" or \"BSON\", found {0:?}")]
pub struct UnknownCodec(String);

/// The error of data that cannot be written in the bus's codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot write the data as {codec}: {reason}")]
pub struct EncodeError {
    /// The codec.
    pub codec: Codec,
    /// The codec's message.
    pub reason: String,
}

/// The error of data that is not what its reader expects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the data as {codec}: {reason}")]
pub struct DecodeError {
    /// The codec.
    pub codec: Codec,
    /// The codec's message.
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
            Codec::Bson => bson::serialize_to_vec(&BsonWrapper { data }).map_err(|e| fail(e.to_string()))?,
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
            Codec::Bson => bson::deserialize_from_slice::<BsonWrapper<T>>(&self.bytes)
                .or_else(|first| decode_whole_doubles(&self.bytes).map_err(|_| first))
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

/// JavaScript's BSON writes an integer beyond 32 bits as a Double (a millisecond timestamp, say), which the reader of an
/// integer refuses. Only what could not be read as it is gets here.
fn decode_whole_doubles<T: DeserializeOwned>(bytes: &[u8]) -> bson::error::Result<T> {
    let mut document: bson::Document = bson::deserialize_from_slice(bytes)?;
    document.iter_mut().for_each(|(_, value)| make_whole(value));
    bson::deserialize_from_bson(bson::Bson::Document(document))
}

fn make_whole(value: &mut bson::Bson) {
    /// Beyond 2^53 a double no longer tells one integer from the next.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    match value {
        bson::Bson::Double(double) if double.fract() == 0.0 && double.abs() <= LIMIT => {
            // Whole and within 2^53, so nothing is lost.
            *value = bson::Bson::Int64(*double as i64);
        }
        bson::Bson::Array(values) => values.iter_mut().for_each(make_whole),
        bson::Bson::Document(document) => document.iter_mut().for_each(|(_, value)| make_whole(value)),
        _ => {}
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.codec, self.bytes.len())
    }
}

/// The document that holds a payload in BSON.
#[derive(Serialize, serde::Deserialize)]
struct BsonWrapper<T> {
    data: T,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_filter("JSON has finite numbers only", |n| n.is_finite()).prop_map(Into::into),
            "[^\\x00]{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map("[a-z]{1,6}", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(value in json_value()) {
            for codec in [Codec::MsgPack, Codec::Bson] {
                let read: serde_json::Value = Payload::encode(codec, &value).unwrap().decode().unwrap();
                prop_assert_eq!(&read, &value);
            }
        }
    }

    #[test]
    fn a_javascript_timestamp_in_bson_is_an_integer() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Order {
            time: u64,
            share: f64,
        }
        let payload =
            Payload::encode(Codec::Bson, &serde_json::json!({"time": 1_460_306_476_102.0, "share": 2.0})).unwrap();
        assert_eq!(payload.decode::<Order>().unwrap(), Order { time: 1_460_306_476_102, share: 2.0 });
    }

    #[test]
    fn a_number_that_bson_cannot_hold_is_an_error() {
        let error = Payload::encode(Codec::Bson, &u64::MAX).unwrap_err().to_string();
        assert!(error.starts_with("cannot write the data as BSON: "), "{error}");
    }
}
