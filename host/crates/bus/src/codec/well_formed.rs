//! One walk over a message that proves that it is well-formed and finds its `data`, before anything is decoded or sent.

use std::ops::Range;

use mshost_plugin_api::{Codec, EncodeError, Payload};

use super::malformed::{FaultKind, WireFault};
use super::shape::{EnvelopeShape, MAX_NESTING};
use super::{bson, json, msgpack};

/// Checks that `bytes` are one well-formed value with nothing after it, an envelope around at most [`MAX_NESTING`] levels.
pub(super) fn check(codec: Codec, bytes: &[u8]) -> Result<EnvelopeShape, WireFault> {
    if bytes.is_empty() {
        return Err(WireFault::new(FaultKind::Empty, "it has no bytes"));
    }
    walk(codec, bytes, MAX_NESTING + 1)
}

fn walk(codec: Codec, bytes: &[u8], levels: usize) -> Result<EnvelopeShape, WireFault> {
    match codec {
        Codec::Json => json::walk(bytes, levels),
        Codec::MsgPack => msgpack::walk(bytes, levels),
        Codec::Bson => bson::walk(bytes, levels),
    }
}

/// As [`check`], for a message that must be a map.
pub(super) fn check_map(codec: Codec, bytes: &[u8]) -> Result<Option<Range<usize>>, WireFault> {
    match check(codec, bytes)? {
        EnvelopeShape::Map { data } => Ok(data),
        EnvelopeShape::Other => Err(WireFault::field("expected a map at its top level")),
    }
}

/// Checks that a payload may be spliced into a message of `codec`.
pub(super) fn check_payload(codec: Codec, payload: &Payload) -> Result<(), EncodeError> {
    let refuse = |reason: String| Err(EncodeError { codec, reason });
    if payload.codec() != codec {
        return refuse(format!("the data is written in {}, but the bus speaks {codec}", payload.codec()));
    }
    // In BSON the payload brings its envelope with it.
    let levels = MAX_NESTING + usize::from(codec == Codec::Bson);
    match walk(codec, payload.bytes(), levels) {
        Err(fault) => refuse(format!("the data is malformed: {}", fault.reason)),
        Ok(shape) if codec == Codec::Bson => {
            let whole = bson::HEADER..payload.bytes().len() - bson::TRAILER;
            match shape {
                EnvelopeShape::Map { data: Some(data) } if data == whole => Ok(()),
                _ => refuse("the data is not the one-element document `{data: …}`".to_owned()),
            }
        }
        Ok(_) => Ok(()),
    }
}
