//! Chunks of a worker's state. It may be larger than a message, so it is sent in chunks, ahead of the message that says what
//! it is.

use bytes::Bytes;
use mshost_plugin_host::StateSnapshot;
use parking_lot::Mutex;

use super::ipc_error::IpcError;

/// The longest chunk, in bytes; a message allows as much beside its payload.
const CHUNK_BYTES: usize = 128 << 10;

/// Cuts a state into chunks.
pub(crate) fn state_chunks(snapshot: StateSnapshot) -> impl Iterator<Item = Bytes> {
    let mut rest = Bytes::from(snapshot.bytes);
    std::iter::from_fn(move || (!rest.is_empty()).then(|| rest.split_to(rest.len().min(CHUNK_BYTES))))
}

/// Collector of the chunks that have arrived.
pub(crate) struct StateChunks {
    bytes: Mutex<Vec<u8>>,
    /// The most bytes of a state (`host.snapshot_limit`).
    limit: u64,
}

impl StateChunks {
    pub(crate) fn new(limit: u64) -> Self {
        Self { bytes: Mutex::default(), limit }
    }

    /// Adds a chunk.
    ///
    /// # Errors
    /// Where the chunks exceed the limit.
    pub(crate) fn add(&self, chunk: &Bytes) -> Result<(), IpcError> {
        let mut bytes = self.bytes.lock();
        let (size, limit) = (bytes.len() + chunk.len(), self.limit);
        if size as u64 > limit {
            return Err(IpcError::TooLarge { size, limit: usize::try_from(limit).unwrap_or(usize::MAX) });
        }
        bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Takes the state of which the chunks were.
    pub(crate) fn take(&self, schema: u32) -> StateSnapshot {
        StateSnapshot { schema, bytes: std::mem::take(&mut *self.bytes.lock()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_state_of_any_size_arrives_as_it_was() {
        for size in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5] {
            let snapshot = StateSnapshot { schema: 7, bytes: (0..size).map(|at| at as u8).collect() };
            let arrived = StateChunks::new(size as u64);
            state_chunks(snapshot.clone()).for_each(|chunk| arrived.add(&chunk).unwrap());
            assert_eq!(arrived.take(7), snapshot);
            assert_eq!(arrived.take(7).bytes.len(), 0, "nothing is left for the next");
        }
    }

    #[test]
    fn one_that_is_too_large_is_refused_before_it_is_whole() {
        let arrived = StateChunks::new(10);
        arrived.add(&Bytes::from_static(&[0; 10])).unwrap();
        let refused = arrived.add(&Bytes::from_static(&[0])).unwrap_err();
        assert!(matches!(refused, IpcError::TooLarge { size: 11, limit: 10 }), "{refused}");
    }
}
