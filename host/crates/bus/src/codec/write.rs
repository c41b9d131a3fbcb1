//! Writes an envelope: a map whose payload, if any, is copied in as it is.

use bytes::Bytes;
use mshost_plugin_api::{Codec, EncodeError, Payload};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{bson, well_formed};

/// A map being written, in any codec. At most 15 fields (MessagePack's one-byte map header).
pub(super) struct MapWriter {
    codec: Codec,
    buffer: Vec<u8>,
    fields: u8,
}

impl MapWriter {
    /// An empty map, with room for `size` bytes of payload.
    pub(super) fn new(codec: Codec, size: usize) -> Self {
        /// What ids and a short pipeline take.
        const ENVELOPE_BYTES: usize = 256;
        let mut buffer = Vec::with_capacity(size + ENVELOPE_BYTES);
        match codec {
            Codec::Json => {}
            Codec::MsgPack => buffer.push(0x80),
            Codec::Bson => buffer.extend([0; bson::HEADER]),
        }
        Self { codec, buffer, fields: 0 }
    }

    /// Adds a field.
    pub(super) fn field(&mut self, key: &str, value: &impl Serialize) -> Result<(), EncodeError> {
        if self.codec == Codec::Bson {
            let document = serialize(Codec::Bson, &OneField { key, value })?;
            self.splice(&document);
        } else {
            self.key(key)?;
            let value = serialize(self.codec, value)?;
            self.buffer.extend_from_slice(&value);
        }
        self.fields += 1;
        Ok(())
    }

    /// Adds the field `data`.
    pub(super) fn data(&mut self, payload: &Payload) -> Result<(), EncodeError> {
        well_formed::check_payload(self.codec, payload)?;
        if self.codec == Codec::Bson {
            self.splice(payload.bytes());
        } else {
            self.key("data")?;
            self.buffer.extend_from_slice(payload.bytes());
        }
        self.fields += 1;
        Ok(())
    }

    fn key(&mut self, key: &str) -> Result<(), EncodeError> {
        if self.codec == Codec::Json {
            self.buffer.push(if self.fields == 0 { b'{' } else { b',' });
        }
        let key = serialize(self.codec, &key)?;
        self.buffer.extend_from_slice(&key);
        if self.codec == Codec::Json {
            self.buffer.push(b':');
        }
        Ok(())
    }

    /// Copies the elements of a BSON document.
    fn splice(&mut self, document: &[u8]) {
        self.buffer.extend_from_slice(&document[bson::HEADER..document.len() - bson::TRAILER]);
    }

    /// Closes the map.
    pub(super) fn finish(mut self) -> Result<Bytes, EncodeError> {
        match self.codec {
            Codec::Json => self.buffer.push(b'}'),
            Codec::MsgPack => self.buffer[0] |= self.fields,
            Codec::Bson => {
                self.buffer.push(0);
                let len = i32::try_from(self.buffer.len()).map_err(|_| EncodeError {
                    codec: Codec::Bson,
                    reason: format!("a document has at most {} bytes, this one has {}", i32::MAX, self.buffer.len()),
                })?;
                self.buffer[..bson::HEADER].copy_from_slice(&len.to_le_bytes());
            }
        }
        Ok(self.buffer.into())
    }
}

/// Writes one value.
pub(super) fn serialize(codec: Codec, value: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    match codec {
        Codec::Json => serde_json::to_vec(value).map_err(|error| error.to_string()),
        Codec::MsgPack => rmp_serde::to_vec_named(value).map_err(|error| error.to_string()),
        Codec::Bson => ::bson::serialize_to_vec(value).map_err(|error| error.to_string()),
    }
    .map_err(|reason| EncodeError { codec, reason })
}

struct OneField<'a, T> {
    key: &'a str,
    value: &'a T,
}

impl<T: Serialize> Serialize for OneField<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.key, self.value)?;
        map.end()
    }
}
