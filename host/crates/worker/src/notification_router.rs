//! Subscribes to the bus once for the whole host, and routes to each worker what concerns it.
//!
//! Each worker answers from its own loop: one that hangs does not answer a keepalive, and expires, as it should.

use std::sync::Arc;

use dashmap::DashMap;
use mshost_bus::{Bus, Event, Failure, Notification, Subscription};
use mshost_core::ids::WorkerId;
use tokio::sync::{mpsc, watch};

/// The most messages that wait for one worker. A worker that reads none of so many hangs, and further ones are logged.
const CAPACITY: usize = 1_024;

/// What a worker is told.
#[derive(Debug)]
pub(super) enum MailboxMessage {
    /// A job that it sent has failed for good.
    JobFailed(Box<Failure>),
    /// A manager asks who is there.
    AnnounceRequested,
    /// The bus was away, and may have forgotten who is there.
    Reconnected,
}

/// The mailboxes of this host's workers.
#[derive(Debug)]
pub struct NotificationRouter {
    mailboxes: DashMap<WorkerId, mpsc::Sender<MailboxMessage>>,
    listening: watch::Sender<bool>,
}

impl NotificationRouter {
    /// Listens, from when the bus can be used until it is closed, in a task of the runtime that this is called in.
    #[must_use]
    pub fn open(bus: Arc<dyn Bus>) -> Arc<Self> {
        let router = Arc::new(Self { mailboxes: DashMap::new(), listening: watch::Sender::new(false) });
        let listener = Arc::clone(&router);
        tokio::spawn(async move {
            match bus.subscribe().await {
                Ok(subscription) => listener.listen(subscription).await,
                Err(error) => tracing::debug!(target: "mshost::worker", "cannot subscribe to notifications: {error}"),
            }
        });
        router
    }

    /// Returns once nothing that a worker is told can be missed.
    pub(super) async fn listening(&self) {
        // It lives as long as this does.
        let _ = self.listening.subscribe().wait_for(|listening| *listening).await;
    }

    /// Opens the mailbox of a worker; it closes when the receiver is dropped.
    pub(super) fn register(self: &Arc<Self>, id: &WorkerId) -> Mailbox {
        let (sender, messages) = mpsc::channel(CAPACITY);
        self.mailboxes.insert(id.clone(), sender);
        Mailbox { router: Arc::clone(self), id: id.clone(), messages }
    }

    async fn listen(self: Arc<Self>, mut subscription: Box<dyn Subscription>) {
        self.listening.send_replace(true);
        while let Some(event) = subscription.next().await {
            match event {
                Event::Notification(Notification::Error(failure)) => {
                    let target = failure.target.id.clone();
                    self.deliver(&target, MailboxMessage::JobFailed(Box::new(failure)));
                }
                Event::Notification(Notification::GetAll) => self.deliver_to_all(|| MailboxMessage::AnnounceRequested),
                Event::Reconnected => self.deliver_to_all(|| MailboxMessage::Reconnected),
                // The manager's part. What was missed it makes good by asking who is there.
                Event::Notification(_) | Event::Missed(_) => {}
            }
        }
    }

    fn deliver(&self, id: &WorkerId, message: MailboxMessage) {
        // Most failures concern workers of other hosts.
        let Some(mailbox) = self.mailboxes.get(id) else { return };
        if let Err(mpsc::error::TrySendError::Full(message)) = mailbox.try_send(message) {
            tracing::error!(target: "mshost::worker", worker = %id, mail = ?message, "the worker does not read its mail ({CAPACITY} wait): dropped");
        }
    }

    fn deliver_to_all(&self, message: impl Fn() -> MailboxMessage) {
        for mailbox in &self.mailboxes {
            // A full mailbox is a worker that hangs: not to hear from it is the answer.
            let _ = mailbox.try_send(message());
        }
    }
}

/// The messages for one worker.
pub(super) struct Mailbox {
    router: Arc<NotificationRouter>,
    id: WorkerId,
    messages: mpsc::Receiver<MailboxMessage>,
}

impl Mailbox {
    /// The next message. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<MailboxMessage> {
        self.messages.recv().await
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.router.mailboxes.remove(&self.id);
    }
}
