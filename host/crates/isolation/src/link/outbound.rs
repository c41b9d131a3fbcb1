//! What waits to be written. Whoever has something to say adds it here, from any thread; one task writes all of it at once.

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use super::{LinkError, frame};

/// Where more than this waits, in bytes, jobs and notifications wait for room before they are added.
const HIGH_WATER: usize = 4 << 20;

/// See the module.
#[derive(Default)]
pub(crate) struct Outbound {
    queue: Mutex<Queue>,
    /// Something has been added to an empty queue, or it is to end.
    pub(super) work: Notify,
    /// There is room again.
    room: Notify,
}

#[derive(Default)]
struct Queue {
    buffer: BytesMut,
    /// Taken and not written yet, in bytes.
    writing: usize,
    finished: bool,
}

/// The other end is gone, or this one has finished.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closed;

impl Outbound {
    /// Adds a message, however much waits. For what is bounded by itself: what was asked for, and answers to what was.
    pub(crate) fn push<M: Serialize>(&self, head: &M, tail: &Bytes) -> Result<(), Closed> {
        let mut queue = self.queue.lock();
        if queue.finished {
            return Err(Closed);
        }
        let was_empty = queue.buffer.is_empty();
        let put = frame::put(&mut queue.buffer, head, tail);
        drop(queue);
        // Our own types can be written, and the callers keep to the bus's limits.
        put.map_err(|error| tracing::error!(target: "mshost::isolation", "a message was not sent: {error}")).ok();
        if was_empty {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Adds a message without a tail.
    pub(crate) fn tell<M: Serialize>(&self, head: &M) -> Result<(), Closed> {
        self.push(head, &Bytes::new())
    }

    /// Waits until there is room, or nobody is there any more. Cancel safe.
    pub(crate) async fn room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before the look: what is notified between the two would be missed.
            room.as_mut().enable();
            {
                let queue = self.queue.lock();
                if queue.finished || queue.buffer.len() + queue.writing < HIGH_WATER {
                    return;
                }
            }
            room.await;
        }
    }

    /// Takes no more messages; those that wait are still written.
    pub(crate) fn finish(&self) {
        self.queue.lock().finished = true;
        self.work.notify_one();
        self.room.notify_waiters();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.queue.lock().finished
    }

    /// Hands over what waits, to be written; the emptied buffer is used again. `true` where nothing will follow it.
    pub(super) fn take_into(&self, written: &mut BytesMut) -> bool {
        let mut queue = self.queue.lock();
        if written.is_empty() {
            written.clear();
            std::mem::swap(written, &mut queue.buffer);
        } else {
            written.unsplit(queue.buffer.split());
        }
        let had = std::mem::replace(&mut queue.writing, written.len());
        let (finished, has_room) = (queue.finished, written.len() < HIGH_WATER);
        drop(queue);
        if has_room && had >= HIGH_WATER {
            self.room.notify_waiters();
        }
        finished
    }

    /// Notes how much is still being written.
    pub(super) fn writing(&self, left: usize) {
        let had = std::mem::replace(&mut self.queue.lock().writing, left);
        if left < had {
            self.room.notify_waiters();
        }
    }

    /// What waits will not be written.
    pub(super) fn abandon(&self) {
        self.finish();
        let mut queue = self.queue.lock();
        (queue.buffer, queue.writing) = (BytesMut::new(), 0);
    }
}

impl From<Closed> for LinkError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}
