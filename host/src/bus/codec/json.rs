//! The form of JSON messages.

use std::ops::Range;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::malformed::{Fault, Kind};
use super::shape::Shape;

/// See [`super::shape::shape`].
pub(super) fn walk(bytes: &[u8], levels: usize) -> Result<Shape, Fault> {
    // serde_json reads a `RawValue` without recursion, so this is safe at any depth.
    let raw: &RawValue = serde_json::from_slice(bytes).map_err(|error| fault(&error))?;
    if nesting(raw.get().as_bytes()) > levels {
        return Err(Fault::too_deep());
    }
    if !raw.get().starts_with('{') {
        return Ok(Shape::Other);
    }
    let found: Data<'_> = serde_json::from_slice(bytes).map_err(Fault::field)?;
    Ok(Shape::Map { data: found.data.map(|data| range_in(bytes, data.get().as_bytes())) })
}

fn fault(error: &serde_json::Error) -> Fault {
    let trailing = error.to_string().starts_with("trailing characters");
    Fault::new(if trailing { Kind::Trailing } else { Kind::Syntax }, error)
}

/// How deep arrays and objects are nested in a text that is known to be JSON.
fn nesting(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
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
