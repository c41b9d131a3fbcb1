//! How the fields of an envelope are read: tolerant where the original is, bounded everywhere.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use mshost_core::ids::{JobId, WorkerId, WorkerRef};
use mshost_plugin_api::{Address, Codec, MAX_ROUTE_LEN, Payload};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use super::bson;
use super::malformed::Fault;

/// Reads an envelope that has passed [`super::shape::shape`].
pub(super) fn read<T: DeserializeOwned>(codec: Codec, body: &[u8]) -> Result<T, Fault> {
    match codec {
        Codec::Json => serde_json::from_slice(body).map_err(Fault::field),
        Codec::MsgPack => rmp_serde::from_slice(body).map_err(Fault::field),
        Codec::Bson => ::bson::deserialize_from_slice(body).map_err(Fault::field),
    }
}

/// The payload at `data` in `body`: shared with it, except in BSON, where it needs an envelope of its own.
pub(super) fn payload(codec: Codec, body: &Bytes, data: Range<usize>) -> Payload {
    let bytes = if codec == Codec::Bson {
        let len = bson::HEADER + data.len() + bson::TRAILER;
        let mut document = BytesMut::with_capacity(len);
        // `body` holds more than this, and its own length is an i32.
        document.extend_from_slice(&(len as i32).to_le_bytes());
        document.extend_from_slice(&body[data]);
        document.extend_from_slice(&[0]);
        document.freeze()
    } else {
        body.slice(data)
    };
    Payload::from_bytes(codec, bytes)
}

/// What JavaScript's `undefined`, a key left out, arrives as.
pub(super) fn null(codec: Codec) -> Payload {
    Payload::from_bytes(
        codec,
        Bytes::from_static(match codec {
            Codec::Json => b"null",
            Codec::MsgPack => b"\xc0",
            Codec::Bson => b"\x0b\0\0\0\x0adata\0\0",
        }),
    )
}

/// `workers_list`. Stops reading one past the limit, so that a long list costs nothing.
#[derive(Debug)]
pub(super) struct Addresses(pub(super) Vec<Address>);

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Addresses;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX_ROUTE_LEN} addresses")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
                let mut addresses = Vec::new();
                while let Some(address) = list.next_element()? {
                    if addresses.len() == MAX_ROUTE_LEN {
                        return Err(A::Error::custom(format_args!(
                            "`workers_list` has more than {MAX_ROUTE_LEN} addresses"
                        )));
                    }
                    addresses.push(address);
                }
                Ok(Addresses(addresses))
            }
        }
        deserializer.deserialize_seq(Read)
    }
}

/// `workers_list_id`: a whole number of whatever numeric type (the original's BSON writes some as doubles).
#[derive(Debug, Clone, Copy)]
pub(super) struct Position(pub(super) usize);

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Position;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a position, a whole number from 0 up")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Position, E> {
                let position = usize::try_from(number).ok();
                position.map(Position).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Position, E> {
                let position = usize::try_from(number).ok();
                position.map(Position).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Position, E> {
                if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
                    Ok(Position(number as usize))
                } else {
                    Err(E::invalid_value(Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// `target` of an `error`: an id, or the sender's whole config object.
#[derive(Debug)]
pub(super) struct Target(pub(super) WorkerRef);

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Target;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a worker id or {id, type}")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Target, E> {
                WorkerId::new(text).map(|id| Target(id.into())).map_err(E::custom)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Target, A::Error> {
                WorkerRef::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Target)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// The key `mshost`, which native workers add to what they announce and report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Native {
    /// The name of the mshost that runs the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    /// The first job of the pipeline of a failed job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) correlation: Option<JobId>,
    /// Who reports a failed job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reporter: Option<WorkerRef>,
}

/// Reads `mshost`; a stranger's key of that name is ignored, as every unknown key is.
pub(super) fn native<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Native, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Ours(Native),
        Strange(IgnoredAny),
    }
    Either::deserialize(deserializer).map(|either| match either {
        Either::Ours(native) => native,
        Either::Strange(IgnoredAny) => Native::default(),
    })
}

/// The values of a map, in its order: an array as BSON writes one at its top level.
pub(super) struct Values<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Values<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Read<T> {
            type Value = Values<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Values<T>, A::Error> {
                let mut values = Vec::new();
                while let Some((IgnoredAny, value)) = map.next_entry()? {
                    values.push(value);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_map(Read(std::marker::PhantomData))
    }
}
