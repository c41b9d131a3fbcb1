//! Frame of a message: the length of all that follows, the length of the head, the head (MessagePack), and the tail.
//!
//! The head is a type of both ends; the tail is a job's payload, opaque to both.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ipc_error::IpcError;

/// The two lengths, in bytes.
const LENGTHS: usize = 8;

/// Shorter tails are copied, in bytes, so that a job that waits for long does not keep a whole read buffer.
const MAX_COPIED: usize = 4 << 10;

/// Appends a message to `buffer`.
pub(crate) fn encode<M: Serialize>(buffer: &mut BytesMut, head: &M, tail: &[u8]) -> Result<(), IpcError> {
    let start = buffer.len();
    buffer.put_u64(0);
    if let Err(error) = rmp_serde::encode::write(&mut (&mut *buffer).writer(), head) {
        buffer.truncate(start);
        return Err(IpcError::Malformed(error.to_string()));
    }
    let head_length = buffer.len() - start - LENGTHS;
    buffer.put_slice(tail);
    let length = buffer.len() - start - LENGTHS;
    let lengths = [u32::try_from(length), u32::try_from(head_length)];
    let [Ok(length), Ok(head_length)] = lengths else {
        buffer.truncate(start);
        return Err(IpcError::TooLarge { size: length, limit: u32::MAX as usize });
    };
    let mut lengths = &mut buffer[start..];
    lengths.put_u32(length);
    lengths.put_u32(head_length);
    Ok(())
}

/// Takes the first message out of `buffer`, if it is complete. None may be longer than `limit` bytes.
pub(crate) fn decode<M: DeserializeOwned>(buffer: &mut BytesMut, limit: usize) -> Result<Option<(M, Bytes)>, IpcError> {
    let Some(mut lengths) = buffer.get(..LENGTHS) else { return Ok(None) };
    let (length, head_length) = (lengths.get_u32() as usize, lengths.get_u32() as usize);
    if length > limit {
        return Err(IpcError::TooLarge { size: length, limit });
    }
    if head_length > length {
        return Err(IpcError::Malformed(format!("a head of {head_length} bytes in a message of {length}")));
    }
    let whole = LENGTHS + length;
    if buffer.len() < whole {
        // Once, instead of in steps that copy what is there already.
        buffer.reserve(whole - buffer.len());
        return Ok(None);
    }
    let head = rmp_serde::from_slice(&buffer[LENGTHS..LENGTHS + head_length])
        .map_err(|error| IpcError::Malformed(error.to_string()))?;
    let tail_length = length - head_length;
    let tail = if tail_length < MAX_COPIED {
        let tail = Bytes::copy_from_slice(&buffer[LENGTHS + head_length..whole]);
        buffer.advance(whole);
        tail
    } else {
        buffer.advance(LENGTHS + head_length);
        buffer.split_to(tail_length).freeze()
    };
    Ok(Some((head, tail)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    proptest! {
        #[test]
        fn whatever_is_put_is_taken_however_it_arrives(
            messages in prop::collection::vec((any::<String>(), prop::collection::vec(any::<u8>(), 0..6_000)), 1..8),
            step in 1_usize..5_000,
        ) {
            let mut sent = BytesMut::new();
            for (head, tail) in &messages {
                encode(&mut sent, head, tail).unwrap();
            }
            let (mut buffer, mut taken) = (BytesMut::new(), Vec::new());
            for piece in sent.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some((head, tail)) = decode::<String>(&mut buffer, LIMIT).unwrap() {
                    taken.push((head, tail.to_vec()));
                }
            }
            prop_assert_eq!(taken, messages);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode::<(u32, String)>(&mut buffer, LIMIT) {}
        }
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_by_its_length_alone() {
        let mut buffer = BytesMut::new();
        encode(&mut buffer, &"head", &[0; 100]).unwrap();
        buffer.truncate(LENGTHS);
        let refused = decode::<String>(&mut buffer, 50).unwrap_err();
        assert!(matches!(refused, IpcError::TooLarge { size: 105, limit: 50 }), "{refused}");
    }
}
