//! The form of BSON messages (<https://bsonspec.org/spec.html>).

use super::malformed::WireFault;
use super::shape::EnvelopeShape;

/// The bytes of a document before its first element: its length.
pub(super) const HEADER: usize = 4;
/// The bytes of a document after its last element: a zero.
pub(super) const TRAILER: usize = 1;

/// See [`super::well_formed::check`].
pub(super) fn walk(bytes: &[u8], levels: usize) -> Result<EnvelopeShape, WireFault> {
    let mut cursor = BsonCursor { bytes, at: 0 };
    let end = cursor.begin()?;
    let inner = levels.checked_sub(1).ok_or_else(WireFault::too_deep)?;
    let mut data = None;
    while cursor.at < end {
        let start = cursor.at;
        let key = cursor.element(inner)?;
        if key == "data" && data.replace(start..cursor.at).is_some() {
            return Err(WireFault::two_data());
        }
    }
    cursor.finish(end)?;
    if cursor.at == bytes.len() {
        Ok(EnvelopeShape::Map { data })
    } else {
        Err(WireFault::trailing(cursor.at, bytes.len()))
    }
}

struct BsonCursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BsonCursor<'a> {
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

    /// A length, which BSON writes as a signed little-endian number.
    fn length(&mut self) -> Result<usize, WireFault> {
        let start = self.at;
        let mut number = [0; 4];
        number.copy_from_slice(self.take(4)?);
        let number = i32::from_le_bytes(number);
        usize::try_from(number).map_err(|_| WireFault::syntax(format!("the length at byte {start} is {number}")))
    }

    /// Opens a document: where its closing zero must be.
    fn begin(&mut self) -> Result<usize, WireFault> {
        let start = self.at;
        let len = self.length()?;
        if len < HEADER + TRAILER || len > self.bytes.len() - start {
            let left = self.bytes.len() - start;
            return Err(WireFault::syntax(format!("the document at byte {start} has length {len}, of {left} bytes")));
        }
        Ok(start + len - TRAILER)
    }

    fn finish(&mut self, end: usize) -> Result<(), WireFault> {
        if self.at != end || self.take(TRAILER)? != [0] {
            return Err(WireFault::syntax(format!(
                "the document does not end with a zero at byte {end}, as its length says"
            )));
        }
        Ok(())
    }

    fn document(&mut self, levels: usize) -> Result<(), WireFault> {
        let inner = levels.checked_sub(1).ok_or_else(WireFault::too_deep)?;
        let end = self.begin()?;
        while self.at < end {
            self.element(inner)?;
        }
        self.finish(end)
    }

    /// One element; gives its key.
    fn element(&mut self, levels: usize) -> Result<&'a str, WireFault> {
        let start = self.at;
        let kind = self.take(1)?[0];
        let key = self.cstring()?;
        match kind {
            0x01 | 0x09 | 0x11 | 0x12 => self.take(8).map(drop)?,
            0x02 | 0x0d | 0x0e => self.string()?,
            0x03 | 0x04 => self.document(levels)?,
            0x05 => self.binary()?,
            0x06 | 0x0a | 0x7f | 0xff => {}
            0x07 => self.take(12).map(drop)?,
            0x08 => match self.take(1)?[0] {
                0 | 1 => {}
                other => return Err(WireFault::syntax(format!("the boolean at byte {start} is {other}"))),
            },
            0x0b => {
                self.cstring()?;
                self.cstring()?;
            }
            0x0c => {
                self.string()?;
                self.take(12)?;
            }
            0x0f => self.code_with_scope(levels)?,
            0x10 => self.take(4).map(drop)?,
            0x13 => self.take(16).map(drop)?,
            _ => {
                return Err(WireFault::syntax(format!("the element at byte {start} has the unknown type {kind:#04x}")));
            }
        }
        Ok(key)
    }

    fn cstring(&mut self) -> Result<&'a str, WireFault> {
        let start = self.at;
        let len = self.bytes[start..].iter().position(|byte| *byte == 0);
        let text =
            self.take(len.ok_or_else(|| WireFault::syntax(format!("the name at byte {start} does not end")))?)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| WireFault::syntax(format!("the name at byte {start} is not UTF-8")))
    }

    fn string(&mut self) -> Result<(), WireFault> {
        let start = self.at;
        let len = self.length()?;
        match self.take(len)? {
            [text @ .., 0] if std::str::from_utf8(text).is_ok() => Ok(()),
            _ => Err(WireFault::syntax(format!("the string at byte {start} is not UTF-8 that ends with a zero"))),
        }
    }

    fn binary(&mut self) -> Result<(), WireFault> {
        let start = self.at;
        let len = self.length()?;
        let subtype = self.take(1)?[0];
        let content = BsonCursor { bytes: self.take(len)?, at: 0 };
        // The old subtype 2 repeats its length inside.
        match subtype {
            2 if { content }.length()?.checked_add(4) != Some(len) => {
                Err(WireFault::syntax(format!("the binary at byte {start} has two different lengths")))
            }
            _ => Ok(()),
        }
    }

    fn code_with_scope(&mut self, levels: usize) -> Result<(), WireFault> {
        let start = self.at;
        let len = self.length()?;
        self.string()?;
        self.document(levels)?;
        if self.at - start == len {
            Ok(())
        } else {
            Err(WireFault::syntax(format!("the code at byte {start} does not have the length {len} that it says")))
        }
    }
}
