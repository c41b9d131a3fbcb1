//! Hears the bus once for the whole host and passes on what concerns its workers.
//!
//! Each worker answers from its own loop: one that hangs does not answer a keepalive, and expires, as it should.

use std::sync::Arc;

use dashmap::DashMap;
use mshost_bus::{Bus, Event, Failure, Notification, Subscription};
use mshost_core::ids::WorkerId;
use tokio::sync::{mpsc, watch};

/// Mail that waits for one worker. A worker that reads none of so much mail hangs, and what it would be told is logged.
const MAILBOX: usize = 1_024;

/// What the bus has for one worker.
#[derive(Debug)]
pub(super) enum Mail {
    /// A job that it sent has failed for good.
    Failed(Box<Failure>),
    /// The manager asks who is there.
    WhoIsThere,
    /// The bus was away, and may have forgotten who is there.
    Reconnected,
}

/// Who of this host is on the bus.
#[derive(Debug)]
pub struct Switchboard {
    mailboxes: DashMap<WorkerId, mpsc::Sender<Mail>>,
    listening: watch::Sender<bool>,
}

impl Switchboard {
    /// Listens, from when the bus can be used until it is closed, in a task of the runtime that this is called in.
    #[must_use]
    pub fn open(bus: Arc<dyn Bus>) -> Arc<Self> {
        let switchboard = Arc::new(Self { mailboxes: DashMap::new(), listening: watch::Sender::new(false) });
        let listener = Arc::clone(&switchboard);
        tokio::spawn(async move {
            match bus.subscribe().await {
                Ok(subscription) => listener.listen(subscription).await,
                Err(error) => tracing::debug!(target: "mshost::worker", "nothing is heard: {error}"),
            }
        });
        switchboard
    }

    /// Returns once nothing that a worker is told can be missed.
    pub(super) async fn listening(&self) {
        // It lives as long as this does.
        let _ = self.listening.subscribe().wait_for(|listening| *listening).await;
    }

    /// Opens the mailbox of a worker; it closes when the receiver is dropped.
    pub(super) fn register(self: &Arc<Self>, id: &WorkerId) -> Mailbox {
        let (sender, mail) = mpsc::channel(MAILBOX);
        self.mailboxes.insert(id.clone(), sender);
        Mailbox { switchboard: Arc::clone(self), id: id.clone(), mail }
    }

    async fn listen(self: Arc<Self>, mut subscription: Box<dyn Subscription>) {
        self.listening.send_replace(true);
        while let Some(event) = subscription.next().await {
            match event {
                Event::Notification(Notification::Error(failure)) => {
                    let target = failure.target.id.clone();
                    self.deliver(&target, Mail::Failed(Box::new(failure)));
                }
                Event::Notification(Notification::GetAll) => self.deliver_to_all(|| Mail::WhoIsThere),
                Event::Reconnected => self.deliver_to_all(|| Mail::Reconnected),
                // The manager's part. What was missed it makes good by asking who is there.
                Event::Notification(_) | Event::Missed(_) => {}
            }
        }
    }

    fn deliver(&self, id: &WorkerId, mail: Mail) {
        // Most failures concern workers of other hosts.
        let Some(mailbox) = self.mailboxes.get(id) else { return };
        if let Err(mpsc::error::TrySendError::Full(mail)) = mailbox.try_send(mail) {
            tracing::error!(target: "mshost::worker", worker = %id, ?mail, "the worker does not read its mail ({MAILBOX} wait): dropped");
        }
    }

    fn deliver_to_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in &self.mailboxes {
            // A full mailbox is a worker that hangs: not to hear from it is the answer.
            let _ = mailbox.try_send(mail());
        }
    }
}

/// The mail of one worker.
pub(super) struct Mailbox {
    switchboard: Arc<Switchboard>,
    id: WorkerId,
    mail: mpsc::Receiver<Mail>,
}

impl Mailbox {
    /// The next mail. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Mail> {
        self.mail.recv().await
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.switchboard.mailboxes.remove(&self.id);
    }
}
