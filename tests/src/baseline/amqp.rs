//! Hops on RabbitMQ made of bare lapin, with what one must pay for the promises that the host makes: publisher confirms of
//! mandatory messages, manual acknowledgement after the next hop's confirm, and durable queues of persistent messages where
//! jobs are to outlive the broker.

use std::time::Duration;

use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::throughput::{self, PendingMessages, Throughput, ThroughputError, within};

/// AMQP's delivery modes: for messages that end with the broker, and for those that survive its restart.
const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// How long closing a connection may take.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// A chain of queues to measure.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The broker, as in `amqp://guest:guest@127.0.0.1:5672`.
    pub url: String,
    /// Queues that a message passes.
    pub hops: usize,
    /// Messages under way at any time, and the most that each consumer has in hand.
    pub in_flight: u16,
    /// Bytes of each message.
    pub payload: usize,
    /// Whether queues and messages survive a restart of the broker.
    pub durable: bool,
}

/// A chain with its queues and consumers in place. Dropping it leaves its queues behind.
#[derive(Debug)]
pub struct OpenChain {
    chain: Chain,
    publishing: Connection,
    consuming: Connection,
    publisher: ChainPublisher,
    queues: Vec<String>,
    ends: PendingMessages,
    stages: JoinSet<lapin::Result<()>>,
}

impl Chain {
    /// Makes the queues and consumes from them.
    ///
    /// # Errors
    /// lapin's own, and where the broker does not answer.
    pub async fn open(self) -> Result<OpenChain, ThroughputError> {
        within("opening a chain of bare lapin", self.place()).await
    }

    async fn place(self) -> lapin::Result<OpenChain> {
        let connect = || Connection::connect(&self.url, ConnectionProperties::default());
        let (publishing, consuming) = (connect().await?, connect().await?);
        let channel = publishing.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let publisher = ChainPublisher { channel, delivery_mode: if self.durable { PERSISTENT } else { TRANSIENT } };
        let queues: Vec<String> =
            (0..self.hops).map(|hop| format!("mshost-baseline-{}-{hop}", std::process::id())).collect();
        let ends = PendingMessages::default();
        let mut stages = JoinSet::new();
        for (hop, queue) in queues.iter().enumerate() {
            let (publisher, ends) = (publisher.clone(), ends.clone());
            let next = queues.get(hop + 1).cloned();
            let stage = ChainStage { publisher, next, ends, in_flight: self.in_flight };
            let consumer = self.consume(&consuming.create_channel().await?, queue).await?;
            stages.spawn(stage.run(consumer));
        }
        Ok(OpenChain { chain: self, publishing, consuming, publisher, queues, ends, stages })
    }

    async fn consume(&self, channel: &Channel, queue: &str) -> lapin::Result<lapin::Consumer> {
        let options = QueueDeclareOptions { durable: self.durable, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
        channel.basic_qos(self.in_flight, BasicQosOptions::default()).await?;
        channel.basic_consume(queue.into(), queue.into(), BasicConsumeOptions::default(), FieldTable::default()).await
    }
}

impl OpenChain {
    /// Has messages pass the chain for a while.
    ///
    /// # Errors
    /// lapin's own, and where a message is lost.
    pub async fn run_for(&self, duration: Duration) -> Result<Throughput, ThroughputError> {
        let payload = vec![b'x'; self.chain.payload];
        let (publisher, first) = (self.publisher.clone(), self.queues[0].clone());
        let send = move |id: String| {
            let (publisher, first, payload) = (publisher.clone(), first.clone(), payload.clone());
            async move { Ok(publisher.publish(&first, &payload, &id).await?) }
        };
        throughput::run(self.chain.in_flight.into(), duration, &self.ends, send).await
    }

    /// Takes its queues away.
    ///
    /// # Errors
    /// lapin's own, and where the broker does not answer.
    pub async fn close(mut self) -> Result<(), ThroughputError> {
        self.stages.shutdown().await;
        for queue in &self.queues {
            let deleting = self.publisher.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
            within("deleting a queue", deleting).await?;
        }
        for connection in [self.consuming, self.publishing] {
            // A close that meets that of a channel can fail, or have no answer.
            let _ = timeout(CLOSE_WAIT, connection.close(200, "done".into())).await;
        }
        Ok(())
    }
}

/// One hop: takes from its queue, gives to the next one or to whoever waits, then acknowledges.
struct ChainStage {
    publisher: ChainPublisher,
    next: Option<String>,
    ends: PendingMessages,
    in_flight: u16,
}

impl ChainStage {
    async fn run(self, consumer: lapin::Consumer) -> lapin::Result<()> {
        let mut handled = consumer.map(|delivery| self.handle(delivery)).buffer_unordered(usize::from(self.in_flight));
        while let Some(outcome) = handled.next().await {
            outcome?;
        }
        Ok(())
    }

    async fn handle(&self, delivery: lapin::Result<Delivery>) -> lapin::Result<()> {
        let delivery = delivery?;
        let id = delivery.properties.correlation_id().as_ref().map(|id| id.as_str()).unwrap_or_default();
        match &self.next {
            Some(next) => self.publisher.publish(next, &delivery.data, id).await?,
            None => self.ends.reached(id),
        }
        delivery.ack(BasicAckOptions::default()).await?;
        Ok(())
    }
}

#[derive(Debug, Clone)]
struct ChainPublisher {
    channel: Channel,
    delivery_mode: u8,
}

impl ChainPublisher {
    /// Returns once the broker has confirmed it.
    async fn publish(&self, queue: &str, payload: &[u8], id: &str) -> lapin::Result<()> {
        let properties =
            BasicProperties::default().with_delivery_mode(self.delivery_mode).with_correlation_id(id.into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        self.channel.basic_publish("".into(), queue.into(), options, payload, properties).await?.await?;
        Ok(())
    }
}
