//! The channel of a session: its consumers, and what is delivered by it and settled on it.

use std::sync::Arc;

use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, Channel, Consumer as Stream};
use mshost_core::ids::WorkerType;
use tokio::runtime::Handle;

use super::ack_batch::AckBatch;
use crate::broker_objects::queues;
use crate::link::connection::BrokerLink;

/// A channel that a worker's jobs come by. Every question to the broker has the link's time limit. It is closed once neither its
/// session nor a job in hand has it any more.
pub(super) struct SessionChannel {
    channel: Channel,
    acks: AckBatch,
    link: BrokerLink,
}

impl SessionChannel {
    /// Opens a channel by which the broker delivers up to `prefetch` jobs to each consumer before one is settled.
    pub(super) async fn open(link: &BrokerLink, prefetch: u16, runtime: &Handle) -> lapin::Result<Arc<Self>> {
        let opening = async {
            let channel = link.consume.create_channel().await?;
            // For each of both consumers: a limit for the channel costs the broker a question for each delivery, quorum queues do
            // not know it, and RabbitMQ 4.3 no longer does. `AmqpConsumer` keeps to the sum, and some more jobs may wait with this
            // worker that another could have taken.
            channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            Ok(channel)
        };
        let channel = link.answer("open a channel", opening).await?;
        let acks = AckBatch::start(channel.clone(), link.clone(), runtime);
        Ok(Arc::new(Self { channel, acks, link: link.clone() }))
    }

    /// Whether it can still be used, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    /// Starts a consumer.
    pub(super) async fn consume(&self, queue: ShortString) -> lapin::Result<Stream> {
        let what = format!("consume from {queue}");
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        self.link.answer(&what, self.channel.basic_consume(queue, "".into(), options, arguments)).await
    }

    /// Cancels a consumer. Nothing more comes after the broker's answer, and the stream ends.
    pub(super) async fn cancel(&self, stream: &Stream) -> lapin::Result<()> {
        let what = format!("cancel a consumer of {}", stream.queue());
        self.link.answer(&what, self.channel.basic_cancel(stream.tag(), BasicCancelOptions::default())).await
    }

    /// Binds the queue of a type, so that jobs come to it.
    pub(super) async fn bind_type(&self, worker_type: &WorkerType) -> lapin::Result<()> {
        let what = format!("bind the queue of {worker_type}");
        self.link.answer(&what, queues::bind_type(&self.channel, worker_type)).await
    }

    /// Acks a delivery, soon; `false` where the channel is gone and the broker delivers it again.
    pub(super) fn ack(&self, tag: u64) -> bool {
        self.acks.ack(tag)
    }

    /// Has the broker deliver it again, flagged.
    pub(super) async fn requeue(&self, acker: &Acker, tag: u64) -> lapin::Result<bool> {
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        self.settle_alone(tag, acker.nack(options)).await
    }

    /// Has the broker dead-letter it.
    pub(super) async fn reject(&self, acker: &Acker, tag: u64) -> lapin::Result<bool> {
        self.settle_alone(tag, acker.reject(BasicRejectOptions { requeue: false })).await
    }

    async fn settle_alone(&self, tag: u64, settling: impl Future<Output = lapin::Result<bool>>) -> lapin::Result<bool> {
        let settled = self.link.answer("settle a job", settling).await?;
        if settled {
            self.acks.settled_otherwise(tag);
        }
        Ok(settled)
    }

    /// What `work` gives, unless the link goes down: then all that was delivered is the broker's again.
    pub(super) async fn while_up<T>(&self, work: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
        self.link.down.or(work).await
    }

    /// Sends the acks that are due, then closes: what was delivered and is not settled goes back.
    pub(super) async fn close(&self) {
        self.acks.finish().await;
        let _ = self.link.answer("close a channel", self.channel.close(200, "the worker has left".into())).await;
    }
}
