//! What senders ask of the publishing task, and what it answers.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::message::outgoing::OutgoingMessage;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishAnswer {
    /// The broker has the message.
    Confirmed,
    /// No queue is there for it.
    Returned,
    /// The same of a message that was published before: it says nothing about the first copy.
    ReturnedAfterResend,
    /// The broker would not take it: its queue is full.
    Refused,
    /// Its time is over.
    Expired,
    /// The bus is closed.
    Closed,
}

/// A message to be published.
pub(super) struct PublishRequest {
    pub(super) message: Arc<OutgoingMessage>,
    pub(super) deadline: Instant,
    /// `None` once answered: the message may still be under way, and holds its place in the window until it is not.
    pub(super) reply: Option<oneshot::Sender<PublishAnswer>>,
    /// It was published before.
    pub(super) resent: bool,
    pub(super) _place: OwnedSemaphorePermit,
}

impl PublishRequest {
    /// Tells the sender, unless it was told before.
    pub(super) fn answer(&mut self, answer: PublishAnswer) {
        if let Some(reply) = self.reply.take() {
            // The sender may have stopped waiting.
            let _ = reply.send(answer);
        }
    }

    /// Tells the sender that no queue is there.
    pub(super) fn answer_returned(&mut self) {
        self.answer(if self.resent { PublishAnswer::ReturnedAfterResend } else { PublishAnswer::Returned });
    }

    /// Whether its sender waits no longer.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// The requests of all senders, for the task.
pub(crate) struct PublishRequests {
    pub(super) receiver: mpsc::Receiver<PublishRequest>,
    /// Cancelled when the task has ended.
    pub(super) ended: CancellationToken,
}
