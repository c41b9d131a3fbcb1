//! How the fields of an envelope are read: tolerant where MicroServices.js is, bounded everywhere.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use mshost_core::ids::{JobId, WorkerId, WorkerRef};
use mshost_plugin_api::{Address, Codec, MAX_ROUTE_LEN, Payload};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use super::bson;
use super::malformed::WireFault;

/// Reads an envelope that has passed [`super::well_formed::check`].
pub(super) fn read<T: DeserializeOwned>(codec: Codec, body: &[u8]) -> Result<T, WireFault> {
    match codec {
        Codec::Json => serde_json::from_slice(body).map_err(WireFault::field),
        Codec::MsgPack => rmp_serde::from_slice(body).map_err(WireFault::field),
        Codec::Bson => ::bson::deserialize_from_slice(body).map_err(WireFault::field),
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
        struct ReadAddresses;
        impl<'de> Visitor<'de> for ReadAddresses {
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
        deserializer.deserialize_seq(ReadAddresses)
    }
}

/// `workers_list_id`: a whole number of whatever numeric type (the BSON of MicroServices.js writes some as doubles).
#[derive(Debug, Clone, Copy)]
pub(super) struct RoutePosition(pub(super) usize);

impl<'de> Deserialize<'de> for RoutePosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadPosition;
        impl Visitor<'_> for ReadPosition {
            type Value = RoutePosition;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a position, a whole number from 0 up")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<RoutePosition, E> {
                let position = usize::try_from(number).ok();
                position.map(RoutePosition).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<RoutePosition, E> {
                let position = usize::try_from(number).ok();
                position.map(RoutePosition).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<RoutePosition, E> {
                if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
                    Ok(RoutePosition(number as usize))
                } else {
                    Err(E::invalid_value(Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_any(ReadPosition)
    }
}

/// `target` of an `error`: an id, or the sender's whole config object.
#[derive(Debug)]
pub(super) struct FailureTarget(pub(super) WorkerRef);

impl<'de> Deserialize<'de> for FailureTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadTarget;
        impl<'de> Visitor<'de> for ReadTarget {
            type Value = FailureTarget;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a worker id or {id, type}")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FailureTarget, E> {
                WorkerId::new(text).map(|id| FailureTarget(id.into())).map_err(E::custom)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<FailureTarget, A::Error> {
                WorkerRef::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(FailureTarget)
            }
        }
        deserializer.deserialize_any(ReadTarget)
    }
}

/// The key `mshost`, which workers of mshost add to what they announce and report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MshostFields {
    /// The name of the mshost that runs the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    /// The first job of the pipeline of a failed job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) correlation: Option<JobId>,
    /// The worker that reports a failed job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reporter: Option<WorkerRef>,
}

/// Reads `mshost`; a stranger's key of that name is ignored, as every unknown key is.
pub(super) fn mshost_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MshostFields, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Ours(MshostFields),
        Strange(IgnoredAny),
    }
    Either::deserialize(deserializer).map(|either| match either {
        Either::Ours(fields) => fields,
        Either::Strange(IgnoredAny) => MshostFields::default(),
    })
}

/// The values of a map, in its order: an array as BSON writes one at its top level.
pub(super) struct Values<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Values<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadValues<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ReadValues<T> {
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
        deserializer.deserialize_map(ReadValues(std::marker::PhantomData))
    }
}
