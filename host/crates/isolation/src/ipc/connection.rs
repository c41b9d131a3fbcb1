//! Connection between a child and its host: a socket with messages both ways, in few system calls.
//!
//! Each end has one task, [`run`]. It reads as much as there is and handles every message in it, then writes all that its
//! [`OutboundQueue`] holds at once.

use std::io;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::frame;
use super::ipc_error::IpcError;
use super::outbound_queue::OutboundQueue;

/// How much is read at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// Larger buffers are freed once they are empty.
const MAX_IDLE_BUFFER: usize = 1 << 20;

/// Reads and writes until either end is closed, or breaks the protocol. `outbound` may hold messages before this is called.
/// `limit` is the longest message that is read, in bytes.
pub(crate) async fn run<M: DeserializeOwned>(
    stream: UnixStream,
    outbound: &OutboundQueue,
    limit: usize,
    handle: impl FnMut(M, Bytes) -> Result<(), IpcError>,
) -> Result<(), IpcError> {
    let _discard = DiscardOnDrop(outbound);
    read_and_write(stream, outbound, limit, handle).await
}

/// Guard that discards what waits, however the task ends, so that no sender waits for capacity.
struct DiscardOnDrop<'a>(&'a OutboundQueue);

impl Drop for DiscardOnDrop<'_> {
    fn drop(&mut self) {
        self.0.discard();
    }
}

async fn read_and_write<M: DeserializeOwned>(
    stream: UnixStream,
    outbound: &OutboundQueue,
    limit: usize,
    mut handle: impl FnMut(M, Bytes) -> Result<(), IpcError>,
) -> Result<(), IpcError> {
    let (mut reading, mut writing) = (BytesMut::new(), BytesMut::new());
    let mut other_reads = true;
    loop {
        let is_last = outbound.take_into(&mut writing);
        // Where the other end no longer reads, what it wrote before is still there to be read.
        other_reads &= write(&stream, &mut writing).is_ok();
        if !other_reads {
            writing.clear();
        }
        outbound.set_writing(writing.len());
        if is_last && writing.is_empty() {
            return Ok(());
        }
        tokio::select! {
            ready = stream.readable() => {
                ready?;
                if !read(&stream, &mut reading)? {
                    return Ok(());
                }
                while let Some((message, tail)) = frame::decode(&mut reading, limit)? {
                    handle(message, tail)?;
                }
                shrink(&mut reading);
                // Tasks that were woken may send something, which then goes out with what was sent here.
                tokio::task::yield_now().await;
            }
            () = outbound.work.notified() => {}
            ready = stream.writable(), if !writing.is_empty() => ready?,
        }
    }
}

/// Writes what the socket takes.
fn write(stream: &UnixStream, writing: &mut BytesMut) -> io::Result<()> {
    while !writing.is_empty() {
        match stream.try_write(writing) {
            Ok(written) => bytes::Buf::advance(writing, written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    shrink(writing);
    Ok(())
}

/// Reads what is there; `false` where the other end is closed.
fn read(stream: &UnixStream, reading: &mut BytesMut) -> io::Result<bool> {
    reading.reserve(READ_BYTES);
    match stream.try_read_buf(reading) {
        Ok(0) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        // A process that dies with something unread resets the connection. What it wrote before has been read.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
        Err(error) => Err(error),
    }
}

fn shrink(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > MAX_IDLE_BUFFER {
        *buffer = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;

    const LIMIT: usize = 16 << 20;
    /// Says that all of the other's have arrived.
    const DONE: usize = usize::MAX;

    /// Sends messages with tails of these lengths both ways at once; every one arrives, in order.
    async fn exchange(lengths: &[usize]) {
        let (one, other) = UnixStream::pair().unwrap();
        let mut ends = tokio::task::JoinSet::new();
        for stream in [one, other] {
            let outbound = Arc::new(OutboundQueue::default());
            let (lengths, sending) = (lengths.to_vec(), Arc::clone(&outbound));
            let expected: Vec<_> = lengths.iter().copied().enumerate().collect();
            ends.spawn(async move {
                for (number, length) in lengths.into_iter().enumerate() {
                    sending.wait_for_capacity().await;
                    sending.push(&number, &Bytes::from(vec![number as u8; length])).unwrap();
                }
            });
            ends.spawn(async move {
                let (mut seen, finishing) = (Vec::new(), Arc::clone(&outbound));
                let all = expected.len();
                let handle = |number: usize, tail: Bytes| {
                    assert!(number == DONE || tail.iter().all(|byte| *byte == number as u8));
                    seen.push((number, tail.len()));
                    if number != DONE && seen.iter().filter(|(number, _)| *number != DONE).count() == all {
                        finishing.send(&DONE).ok();
                    }
                    if seen.len() == all + 1 {
                        finishing.close();
                    }
                    Ok(())
                };
                run(stream, &outbound, LIMIT, handle).await.unwrap();
                seen.retain(|(number, _)| *number != DONE);
                assert_eq!(seen, expected);
            });
        }
        let all = async {
            while let Some(end) = ends.join_next().await {
                end.unwrap()
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), all).await.unwrap();
    }

    #[tokio::test]
    async fn everything_arrives_in_order_both_ways() {
        exchange(&[0, 1, 5_000, 3, 300_000, 2, 4_095, 4_096]).await;
    }

    #[tokio::test]
    async fn more_than_both_sockets_and_queues_hold_arrives_too() {
        exchange(&[3 << 20; 12]).await;
    }

    #[tokio::test]
    async fn a_message_that_is_none_ends_it() {
        let (one, other) = UnixStream::pair().unwrap();
        other.writable().await.unwrap();
        other.try_write(&[0, 0, 0, 1, 0, 0, 0, 1, 0xc1]).unwrap();
        let outbound = OutboundQueue::default();
        let refused = run(one, &outbound, LIMIT, |_: u32, _| Ok(())).await.unwrap_err();
        assert!(matches!(refused, IpcError::Malformed(_)), "{refused}");
        assert!(outbound.send(&1).is_err() && outbound.is_closed());
    }
}
