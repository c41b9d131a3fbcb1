//! The form of MessagePack messages (<https://github.com/msgpack/msgpack/blob/master/spec.md>).

use super::malformed::WireFault;
use super::shape::EnvelopeShape;

/// See [`super::well_formed::check`].
pub(super) fn walk(bytes: &[u8], levels: usize) -> Result<EnvelopeShape, WireFault> {
    let mut cursor = MsgPackCursor { bytes, at: 0 };
    let shape = match cursor.head()? {
        Head::Map(len) => {
            let inner = levels.checked_sub(1).ok_or_else(WireFault::too_deep)?;
            let mut data = None;
            for _ in 0..len {
                let is_data = cursor.key(inner)?;
                let start = cursor.at;
                cursor.value(inner)?;
                if is_data && data.replace(start..cursor.at).is_some() {
                    return Err(WireFault::two_data());
                }
            }
            EnvelopeShape::Map { data }
        }
        head => {
            cursor.rest(&head, levels)?;
            EnvelopeShape::Other
        }
    };
    if cursor.at == bytes.len() { Ok(shape) } else { Err(WireFault::trailing(cursor.at, bytes.len())) }
}

struct MsgPackCursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The first bytes of a value: what follows them. Maps count pairs.
enum Head {
    Bytes(usize),
    Text(usize),
    Array(usize),
    Map(usize),
}

impl<'a> MsgPackCursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireFault> {
        let end = self.at.checked_add(len);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            WireFault::syntax(format!(
                "at byte {} it needs {len} bytes, but has {}",
                self.at,
                self.bytes.len() - self.at
            ))
        })?;
        self.at += len;
        Ok(taken)
    }

    /// A big-endian length of `width` bytes.
    fn length(&mut self, width: usize) -> Result<usize, WireFault> {
        Ok(self.take(width)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn head(&mut self) -> Result<Head, WireFault> {
        let marker = self.take(1)?[0];
        Ok(match marker {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Head::Bytes(0),
            0x80..=0x8f => Head::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Head::Array(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Head::Text(usize::from(marker & 0x1f)),
            0xc1 => return Err(WireFault::syntax(format!("0xc1 at byte {} is no MessagePack", self.at - 1))),
            0xc4 => Head::Bytes(self.length(1)?),
            0xc5 => Head::Bytes(self.length(2)?),
            0xc6 => Head::Bytes(self.length(4)?),
            // Extension types have one byte for the type.
            0xc7 => Head::Bytes(self.length(1)? + 1),
            0xc8 => Head::Bytes(self.length(2)? + 1),
            0xc9 => Head::Bytes(self.length(4)? + 1),
            0xca => Head::Bytes(4),
            0xcb => Head::Bytes(8),
            0xcc | 0xd0 => Head::Bytes(1),
            0xcd | 0xd1 => Head::Bytes(2),
            0xce | 0xd2 => Head::Bytes(4),
            0xcf | 0xd3 => Head::Bytes(8),
            0xd4 => Head::Bytes(2),
            0xd5 => Head::Bytes(3),
            0xd6 => Head::Bytes(5),
            0xd7 => Head::Bytes(9),
            0xd8 => Head::Bytes(17),
            0xd9 => Head::Text(self.length(1)?),
            0xda => Head::Text(self.length(2)?),
            0xdb => Head::Text(self.length(4)?),
            0xdc => Head::Array(self.length(2)?),
            0xdd => Head::Array(self.length(4)?),
            0xde => Head::Map(self.length(2)?),
            0xdf => Head::Map(self.length(4)?),
        })
    }

    /// One value; `levels` is how many arrays and maps it may still open.
    fn value(&mut self, levels: usize) -> Result<(), WireFault> {
        let head = self.head()?;
        self.rest(&head, levels)
    }

    fn rest(&mut self, head: &Head, levels: usize) -> Result<(), WireFault> {
        let values = match *head {
            Head::Bytes(len) => return self.take(len).map(drop),
            Head::Text(len) => return self.text(len).map(drop),
            Head::Array(len) => len,
            Head::Map(pairs) => pairs.saturating_mul(2),
        };
        let inner = levels.checked_sub(1).ok_or_else(WireFault::too_deep)?;
        // Each value takes a byte at least, so a false length ends at the end of the message.
        for _ in 0..values {
            self.value(inner)?;
        }
        Ok(())
    }

    fn text(&mut self, len: usize) -> Result<&'a str, WireFault> {
        let start = self.at;
        std::str::from_utf8(self.take(len)?)
            .map_err(|_| WireFault::syntax(format!("the string at byte {start} is not UTF-8")))
    }

    /// A key of the top-level map: whether it is `data`. Keys that are no strings are ignored.
    fn key(&mut self, levels: usize) -> Result<bool, WireFault> {
        match self.head()? {
            Head::Text(len) => Ok(self.text(len)? == "data"),
            head => self.rest(&head, levels).map(|()| false),
        }
    }
}
