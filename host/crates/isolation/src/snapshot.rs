//! A worker's state on its way between two processes. It may be larger than a message, so it travels in pieces, ahead of
//! the message that says whose it is.

use bytes::Bytes;
use mshost_plugin_host::StateSnapshot;
use parking_lot::Mutex;

use super::link::LinkError;

/// The most bytes of a piece, within what the head of a message may have.
const PIECE: usize = 128 << 10;

/// Cuts a state into pieces.
pub(super) fn pieces(snapshot: StateSnapshot) -> impl Iterator<Item = Bytes> {
    let mut rest = Bytes::from(snapshot.bytes);
    std::iter::from_fn(move || (!rest.is_empty()).then(|| rest.split_to(rest.len().min(PIECE))))
}

/// The pieces that have arrived.
pub(super) struct Pieces {
    bytes: Mutex<Vec<u8>>,
    /// The most bytes of a state (`host.snapshot_limit`).
    limit: u64,
}

impl Pieces {
    pub(super) fn new(limit: u64) -> Self {
        Self { bytes: Mutex::default(), limit }
    }

    /// Adds one.
    ///
    /// # Errors
    /// Where they come to more than the limit.
    pub(super) fn add(&self, piece: &Bytes) -> Result<(), LinkError> {
        let mut bytes = self.bytes.lock();
        let (size, limit) = (bytes.len() + piece.len(), self.limit);
        if size as u64 > limit {
            return Err(LinkError::TooLarge { size, limit: usize::try_from(limit).unwrap_or(usize::MAX) });
        }
        bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The state that they make.
    pub(super) fn take(&self, schema: u32) -> StateSnapshot {
        StateSnapshot { schema, bytes: std::mem::take(&mut *self.bytes.lock()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_state_of_any_size_arrives_as_it_was() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
            let snapshot = StateSnapshot { schema: 7, bytes: (0..size).map(|at| at as u8).collect() };
            let arrived = Pieces::new(size as u64);
            pieces(snapshot.clone()).for_each(|piece| arrived.add(&piece).unwrap());
            assert_eq!(arrived.take(7), snapshot);
            assert_eq!(arrived.take(7).bytes.len(), 0, "nothing is left for the next");
        }
    }

    #[test]
    fn one_that_is_too_large_is_refused_before_it_is_whole() {
        let arrived = Pieces::new(10);
        arrived.add(&Bytes::from_static(&[0; 10])).unwrap();
        let refused = arrived.add(&Bytes::from_static(&[0])).unwrap_err();
        assert!(matches!(refused, LinkError::TooLarge { size: 11, limit: 10 }), "{refused}");
    }
}
