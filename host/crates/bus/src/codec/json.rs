//! The form of JSON messages.

use std::ops::Range;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::malformed::{FaultKind, WireFault};
use super::shape::EnvelopeShape;

/// See [`super::well_formed::check`].
pub(super) fn walk(bytes: &[u8], levels: usize) -> Result<EnvelopeShape, WireFault> {
    // Before it is parsed, which takes seconds for a large body that is nothing but brackets.
    if is_deeper(bytes, levels) {
        return Err(WireFault::too_deep());
    }
    let raw: &RawValue = serde_json::from_slice(bytes).map_err(|error| fault(&error))?;
    if !raw.get().starts_with('{') {
        return Ok(EnvelopeShape::Other);
    }
    let found: Data<'_> = serde_json::from_slice(bytes).map_err(WireFault::field)?;
    Ok(EnvelopeShape::Map { data: found.data.map(|data| range_in(bytes, data.get().as_bytes())) })
}

fn fault(error: &serde_json::Error) -> WireFault {
    let trailing = error.to_string().starts_with("trailing characters");
    WireFault::new(if trailing { FaultKind::Trailing } else { FaultKind::Syntax }, error)
}

/// Whether arrays and objects are nested deeper than this. Of a text that is not JSON it may say either.
fn is_deeper(text: &[u8], levels: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > levels {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Where `part`, which was borrowed from `whole`, lies in it.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// Keeps `null`, which `Option` would drop.
fn present<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}
