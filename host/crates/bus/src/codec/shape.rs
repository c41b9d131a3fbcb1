//! The outer shape of a message.

use std::ops::Range;

/// The deepest that arrays and maps in a payload may be nested. Below what the payload decoders stand (serde_json: 127).
pub const MAX_NESTING: usize = 100;

/// What stands at the top of a well-formed message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EnvelopeShape {
    /// A map, and where in it the value of `data` is (in BSON: the whole element, type and key included).
    Map { data: Option<Range<usize>> },
    /// Anything else.
    Other,
}
