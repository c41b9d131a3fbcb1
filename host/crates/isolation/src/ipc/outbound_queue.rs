//! Queue of messages to be written. Any thread adds to it; one task writes all of it at once.

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use super::frame;
use super::ipc_error::IpcError;

/// Where more bytes than this are queued, jobs and notifications wait for capacity before they are added.
const HIGH_WATER: usize = 4 << 20;

/// The queue of one end of a connection.
#[derive(Default)]
pub(crate) struct OutboundQueue {
    queue: Mutex<QueuedBytes>,
    /// Something was added to an empty queue, or it was closed.
    pub(crate) work: Notify,
    /// There is capacity again.
    capacity: Notify,
}

#[derive(Default)]
struct QueuedBytes {
    buffer: BytesMut,
    /// Bytes taken by the writing task and not written yet.
    writing: usize,
    closed: bool,
}

/// The error of a message to a connection that is closed, at either end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionClosed;

impl OutboundQueue {
    /// Adds a message, however much is queued. For messages that are bounded otherwise: what was asked for, and responses.
    pub(crate) fn push<M: Serialize>(&self, head: &M, tail: &Bytes) -> Result<(), ConnectionClosed> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(ConnectionClosed);
        }
        let was_empty = queue.buffer.is_empty();
        let put = frame::encode(&mut queue.buffer, head, tail);
        drop(queue);
        // Our own types can be written, and the callers keep to the bus's limits.
        put.map_err(|error| tracing::error!(target: "mshost::isolation", "a message was not sent: {error}")).ok();
        if was_empty {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Adds a message without a tail.
    pub(crate) fn send<M: Serialize>(&self, head: &M) -> Result<(), ConnectionClosed> {
        self.push(head, &Bytes::new())
    }

    /// Waits until there is capacity, or the queue is closed. Cancel safe.
    pub(crate) async fn wait_for_capacity(&self) {
        loop {
            let capacity = self.capacity.notified();
            tokio::pin!(capacity);
            // Before the check: a notification between the two would be missed.
            capacity.as_mut().enable();
            {
                let queue = self.queue.lock();
                if queue.closed || queue.buffer.len() + queue.writing < HIGH_WATER {
                    return;
                }
            }
            capacity.await;
        }
    }

    /// Takes no more messages; those that are queued are still written.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.work.notify_one();
        self.capacity.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Moves what is queued to `written`, whose emptied buffer is used again. `true` where nothing will follow it.
    pub(crate) fn take_into(&self, written: &mut BytesMut) -> bool {
        let mut queue = self.queue.lock();
        if written.is_empty() {
            written.clear();
            std::mem::swap(written, &mut queue.buffer);
        } else {
            written.unsplit(queue.buffer.split());
        }
        let had = std::mem::replace(&mut queue.writing, written.len());
        let (closed, has_room) = (queue.closed, written.len() < HIGH_WATER);
        drop(queue);
        if has_room && had >= HIGH_WATER {
            self.capacity.notify_waiters();
        }
        closed
    }

    /// Notes how many bytes are still being written.
    pub(crate) fn set_writing(&self, left: usize) {
        let had = std::mem::replace(&mut self.queue.lock().writing, left);
        if left < had {
            self.capacity.notify_waiters();
        }
    }

    /// Closes the queue and drops what it holds.
    pub(crate) fn discard(&self) {
        self.close();
        let mut queue = self.queue.lock();
        (queue.buffer, queue.writing) = (BytesMut::new(), 0);
    }
}

impl From<ConnectionClosed> for IpcError {
    fn from(_: ConnectionClosed) -> Self {
        Self::Closed
    }
}
