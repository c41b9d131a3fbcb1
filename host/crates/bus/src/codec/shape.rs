//! One walk over a message that proves its form and finds its `data`, before anything is decoded or sent.

use std::ops::Range;

use mshost_plugin_api::{Codec, EncodeError, Payload};

use super::malformed::{Fault, Kind};
use super::{bson, json, msgpack};

/// The deepest that arrays and maps in a payload may be nested. Below what the payload decoders stand (serde_json: 127).
pub const MAX_NESTING: usize = 100;

/// What stands at the top of a well-formed message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A map, and where in it the value of `data` is (in BSON: the whole element, type and key included).
    Map { data: Option<Range<usize>> },
    /// Anything else.
    Other,
}

/// Checks that `bytes` are one well-formed value with nothing after it, an envelope around at most [`MAX_NESTING`] levels.
pub(super) fn shape(codec: Codec, bytes: &[u8]) -> Result<Shape, Fault> {
    if bytes.is_empty() {
        return Err(Fault::new(Kind::Empty, "it has no bytes"));
    }
    walk(codec, bytes, MAX_NESTING + 1)
}

fn walk(codec: Codec, bytes: &[u8], levels: usize) -> Result<Shape, Fault> {
    match codec {
        Codec::Json => json::walk(bytes, levels),
        Codec::MsgPack => msgpack::walk(bytes, levels),
        Codec::Bson => bson::walk(bytes, levels),
    }
}

/// As [`shape`], for a message that must be a map.
pub(super) fn map(codec: Codec, bytes: &[u8]) -> Result<Option<Range<usize>>, Fault> {
    match shape(codec, bytes)? {
        Shape::Map { data } => Ok(data),
        Shape::Other => Err(Fault::field("expected a map at its top level")),
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
                Shape::Map { data: Some(data) } if data == whole => Ok(()),
                _ => refuse("the data is not the one-element document `{data: …}`".to_owned()),
            }
        }
        Ok(_) => Ok(()),
    }
}
