//! Where a session puts the streams of its consumers for [`Consumer::next`] to take messages from.
//!
//! The streams are the session's: it puts them in, and takes them out again before it cancels a consumer. `next` only looks, under
//! a lock that is never held across an await; what it gets is in its caller's hands at once. So a `next` that is dropped halfway
//! leaves nothing behind, and a job costs no more tasks than the broker's stream itself.
//!
//! [`Consumer::next`]: mshost_bus::Consumer::next

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::task::AtomicWaker;
use lapin::Consumer as Stream;
use lapin::message::Delivery as Message;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::session_channel::SessionChannel;
use crate::amqp_error;

/// The streams of one session: its task and its worker's consumer share them.
#[derive(Default)]
pub(super) struct JobInbox {
    state: Mutex<InboxState>,
    /// The worker, which waits for a message.
    waiting: AtomicWaker,
    /// A stream has ended.
    pub(super) lost: Notify,
}

/// A message, and what it can be settled by.
pub(super) struct ReceivedMessage {
    pub(super) message: Message,
    pub(super) channel: Arc<SessionChannel>,
}

#[derive(Default)]
enum InboxState {
    /// Nothing comes for now.
    #[default]
    Detached,
    /// Messages come by a channel.
    Attached(Box<AttachedInbox>),
    /// Nothing comes any more.
    Closed,
}

struct AttachedInbox {
    channel: Arc<SessionChannel>,
    streams: ConsumerStreams,
    /// Which of both is looked at first, in turns: neither queue starves the other.
    own_first: bool,
}

/// The streams of a session's consumers.
#[derive(Default)]
pub(super) struct ConsumerStreams {
    /// From the queue of the worker's type.
    pub(super) by_type: Option<Stream>,
    /// From the queue of the worker itself.
    pub(super) own: Option<Stream>,
}

/// Which consumers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunningConsumers {
    pub(super) by_type: bool,
    pub(super) own: bool,
}

impl RunningConsumers {
    /// Neither runs.
    pub(super) const NONE: Self = Self { by_type: false, own: false };
}

impl JobInbox {
    /// Messages come by another channel from here on.
    pub(super) fn attach(&self, channel: Arc<SessionChannel>, streams: ConsumerStreams) {
        self.replace(InboxState::Attached(Box::new(AttachedInbox { channel, streams, own_first: true })));
    }

    /// Adds streams of the same channel.
    pub(super) fn add(&self, added: ConsumerStreams) {
        if let InboxState::Attached(attached) = &mut *self.state.lock() {
            let streams = &mut attached.streams;
            streams.by_type = added.by_type.or(streams.by_type.take());
            streams.own = added.own.or(streams.own.take());
        }
        self.waiting.wake();
    }

    /// Nothing comes until another channel is attached. What had come is the broker's again.
    pub(super) fn detach(&self) {
        self.replace(InboxState::Detached);
    }

    /// Takes out the stream of the type.
    pub(super) fn take_type(&self) -> Option<Stream> {
        match &mut *self.state.lock() {
            InboxState::Attached(attached) => attached.streams.by_type.take(),
            InboxState::Detached | InboxState::Closed => None,
        }
    }

    /// Takes out all streams; `next` has nothing to wait for any more.
    pub(super) fn close(&self) -> ConsumerStreams {
        match self.replace(InboxState::Closed) {
            InboxState::Attached(attached) => attached.streams,
            InboxState::Detached | InboxState::Closed => ConsumerStreams::default(),
        }
    }

    /// Whether nothing comes any more.
    pub(super) fn is_closed(&self) -> bool {
        matches!(&*self.state.lock(), InboxState::Closed)
    }

    /// Which consumers run, as far as is known.
    pub(super) fn running(&self) -> RunningConsumers {
        match &*self.state.lock() {
            InboxState::Attached(attached) => {
                RunningConsumers { by_type: attached.streams.by_type.is_some(), own: attached.streams.own.is_some() }
            }
            InboxState::Detached | InboxState::Closed => RunningConsumers::NONE,
        }
    }

    fn replace(&self, state: InboxState) -> InboxState {
        let before = std::mem::replace(&mut *self.state.lock(), state);
        self.waiting.wake();
        before
    }

    /// The next message; `None` once the inbox is closed. Cancel safe: what is not returned has not been taken.
    pub(super) async fn next(&self) -> Option<ReceivedMessage> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<ReceivedMessage>> {
        // Before looking, so that no change is missed.
        self.waiting.register(cx.waker());
        match &mut *self.state.lock() {
            InboxState::Closed => Poll::Ready(None),
            InboxState::Detached => Poll::Pending,
            InboxState::Attached(attached) => attached.poll_next(cx, &self.lost).map(Some),
        }
    }
}

impl AttachedInbox {
    fn poll_next(&mut self, cx: &mut Context<'_>, lost: &Notify) -> Poll<ReceivedMessage> {
        self.own_first = !self.own_first;
        let ConsumerStreams { by_type, own } = &mut self.streams;
        let in_turn = if self.own_first { [own, by_type] } else { [by_type, own] };
        for stream in in_turn {
            if let Some(message) = poll_stream(stream, cx, lost) {
                return Poll::Ready(ReceivedMessage { message, channel: Arc::clone(&self.channel) });
            }
        }
        Poll::Pending
    }
}

/// The next message of a stream, where there is one now. A stream that has ended is dropped, and its loss is told.
fn poll_stream(slot: &mut Option<Stream>, cx: &mut Context<'_>, lost: &Notify) -> Option<Message> {
    let Poll::Ready(next) = slot.as_mut()?.poll_next_unpin(cx) else { return None };
    match next {
        Some(Ok(message)) => return Some(message),
        Some(Err(error)) => {
            tracing::debug!(target: "mshost::bus", "a consumer has ended: {}", amqp_error::text(&error))
        }
        None => {}
    }
    *slot = None;
    lost.notify_one();
    None
}
