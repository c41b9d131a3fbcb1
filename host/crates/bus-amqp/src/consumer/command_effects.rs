//! What a command changes on the broker: consumers are cancelled, and what they were delivered goes back.

use super::broker_side::{BrokerSide, SessionEvent};
use super::channel_attachment::ChannelAttachment;
use super::job_inbox::ConsumerStreams;
use super::{in_hand_marker, queue_cleanup, unstarted_deliveries};
use crate::sessions::demand::SessionCommand;

impl BrokerSide {
    /// Changes the demand, and releases what is no longer wanted.
    pub(super) async fn carry_out(
        &mut self,
        command: SessionCommand,
        attached: Option<&mut ChannelAttachment>,
    ) -> Option<SessionEvent> {
        let demand = self.demand.borrow().after(command)?;
        self.demand.send_replace(demand);
        match command {
            SessionCommand::Resume => Some(SessionEvent::Incomplete),
            SessionCommand::Pause => {
                if let Some(attached) = attached {
                    self.release_type(attached).await;
                }
                None
            }
            SessionCommand::LeaveType => {
                let mut attached = attached;
                if let Some(attached) = &mut attached {
                    self.release_type(attached).await;
                }
                // Jobs in hand may still be handed back, and need the queue until the consumer is dropped.
                if self.in_hand.count() == 0 {
                    ChannelAttachment::unmark(attached).await;
                    queue_cleanup::leave_type(&self.engine, self.queues.worker(), self.queues.kind()).await;
                }
                None
            }
            SessionCommand::Stop => {
                let event = self.end();
                let mut attached = attached;
                match &mut attached {
                    Some(attached) => self.release_all(attached).await,
                    None => drop(self.inbox.close()),
                }
                // As above.
                if self.in_hand.count() == 0 {
                    ChannelAttachment::unmark(attached).await;
                    queue_cleanup::leave(&self.engine, self.queues.worker(), self.queues.kind()).await;
                }
                Some(event)
            }
        }
    }

    /// Cancels the consumer of the type, and hands back what it was delivered and the worker has not taken.
    async fn release_type(&self, attached: &mut ChannelAttachment) {
        self.mark(attached).await;
        if let Some(stream) = self.inbox.take_type() {
            unstarted_deliveries::release(&self.engine, &attached.channel, stream).await;
        }
    }

    /// The same for both consumers.
    pub(super) async fn release_all(&self, attached: &mut ChannelAttachment) {
        self.mark(attached).await;
        let ConsumerStreams { by_type, own } = self.inbox.close();
        for stream in [by_type, own].into_iter().flatten() {
            unstarted_deliveries::release(&self.engine, &attached.channel, stream).await;
        }
    }

    /// To be called before the consumer of the type ends.
    async fn mark(&self, attached: &mut ChannelAttachment) {
        if attached.marker.is_none() && self.inbox.running().by_type {
            let (kind, channel) = (self.queues.kind(), &attached.channel);
            attached.marker = in_hand_marker::place(&self.engine, self.queues.worker_type(), kind, channel).await;
        }
    }
}
