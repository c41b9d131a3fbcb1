//! A socket between two processes with messages both ways, as few system calls as they need.
//!
//! Each end has one task, [`run`]. It reads as much as there is and handles every message in it, then writes all that has
//! gathered in its [`Outbound`] at once.

mod frame;
mod outbound;

use std::io;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

pub(super) use outbound::{Closed, Outbound};

/// How much is read at once, in bytes.
const READ: usize = 64 << 10;

/// Larger buffers are let go of once they are empty.
const KEPT: usize = 1 << 20;

/// Why two processes no longer understand each other.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The system's words.
    #[error("the socket fails: {0}")]
    Io(#[from] io::Error),
    /// A message that may not be so long.
    #[error("a message of {size} bytes, where at most {limit} are allowed")]
    TooLarge {
        /// Its length in bytes.
        size: usize,
        /// The most bytes.
        limit: usize,
    },
    /// Something else than a message.
    #[error("not a message: {0}")]
    Malformed(String),
    /// This end has finished.
    #[error("the connection is closed")]
    Closed,
}

/// Reads and writes until either end has finished, or does not keep to the rules. What `handle` says to a message may wait in
/// `outbound` before this is called. `limit` is the most bytes of a message that is read.
pub(super) async fn run<M: DeserializeOwned>(
    stream: UnixStream,
    outbound: &Outbound,
    limit: usize,
    handle: impl FnMut(M, Bytes) -> Result<(), LinkError>,
) -> Result<(), LinkError> {
    let _abandon = Abandon(outbound);
    read_and_write(stream, outbound, limit, handle).await
}

/// However it ends, nobody may wait for it.
struct Abandon<'a>(&'a Outbound);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

async fn read_and_write<M: DeserializeOwned>(
    stream: UnixStream,
    outbound: &Outbound,
    limit: usize,
    mut handle: impl FnMut(M, Bytes) -> Result<(), LinkError>,
) -> Result<(), LinkError> {
    let (mut reading, mut writing) = (BytesMut::new(), BytesMut::new());
    let mut heard = true;
    loop {
        let is_last = outbound.take_into(&mut writing);
        // Where nobody listens any more, what was said before that is still there to be read.
        heard &= write(&stream, &mut writing).is_ok();
        if !heard {
            writing.clear();
        }
        outbound.writing(writing.len());
        if is_last && writing.is_empty() {
            return Ok(());
        }
        tokio::select! {
            ready = stream.readable() => {
                ready?;
                if !read(&stream, &mut reading)? {
                    return Ok(());
                }
                while let Some((message, tail)) = frame::take(&mut reading, limit)? {
                    handle(message, tail)?;
                }
                shrink(&mut reading);
                // Those who were woken may have something to say, which then goes out with what was said here.
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

/// Reads what is there; `false` where the other end has finished.
fn read(stream: &UnixStream, reading: &mut BytesMut) -> io::Result<bool> {
    reading.reserve(READ);
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
    if buffer.is_empty() && buffer.capacity() > KEPT {
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
            let outbound = Arc::new(Outbound::default());
            let (lengths, sending) = (lengths.to_vec(), Arc::clone(&outbound));
            let expected: Vec<_> = lengths.iter().copied().enumerate().collect();
            ends.spawn(async move {
                for (number, length) in lengths.into_iter().enumerate() {
                    sending.room().await;
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
                        finishing.tell(&DONE).ok();
                    }
                    if seen.len() == all + 1 {
                        finishing.finish();
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
        let outbound = Outbound::default();
        let refused = run(one, &outbound, LIMIT, |_: u32, _| Ok(())).await.unwrap_err();
        assert!(matches!(refused, LinkError::Malformed(_)), "{refused}");
        assert!(outbound.tell(&1).is_err() && outbound.is_finished());
    }
}
