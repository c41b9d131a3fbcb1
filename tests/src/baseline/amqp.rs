//! The movie loop's hops on RabbitMQ, made of bare lapin: durable queues, persistent messages, publisher confirms,
//! manual acknowledgement after the next hop's confirm. What one must pay for the promises that the host makes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use hdrhistogram::Histogram;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Result};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// AMQP's delivery mode for messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

/// How long one loop may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A loop to measure.
#[derive(Debug, Clone)]
pub struct AmqpLoop {
    /// The broker, as in `amqp://guest:guest@127.0.0.1:5672`.
    pub url: String,
    /// Queues that a message passes.
    pub hops: usize,
    /// Loops under way at any time.
    pub in_flight: u16,
    /// Bytes of each message.
    pub payload: usize,
}

/// What a loop did.
#[derive(Debug, Clone)]
pub struct AmqpReport {
    /// Loops a second.
    pub rate: f64,
    /// Times of single loops, in microseconds.
    pub micros: Histogram<u64>,
}

/// Who waits for which loop to end.
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>;

impl AmqpLoop {
    /// Runs for a while, then deletes its queues.
    ///
    /// # Errors
    /// lapin's own.
    pub async fn run_for(&self, duration: Duration) -> Result<AmqpReport> {
        let connect = || Connection::connect(&self.url, ConnectionProperties::default());
        let (publishing, consuming) = (connect().await?, connect().await?);
        let publisher = publishing.create_channel().await?;
        publisher.confirm_select(ConfirmSelectOptions::default()).await?;
        let queues: Vec<String> =
            (0..self.hops).map(|hop| format!("mshost-baseline-{}-{hop}", std::process::id())).collect();
        let waiting = Waiting::default();
        let mut stages = JoinSet::new();
        for (hop, queue) in queues.iter().enumerate() {
            let stage = Stage {
                publisher: publisher.clone(),
                next: queues.get(hop + 1).cloned(),
                waiting: Arc::clone(&waiting),
                in_flight: self.in_flight,
            };
            let channel = consuming.create_channel().await?;
            stages.spawn(stage.run(consume(&channel, queue, self.in_flight).await?));
        }
        let report = self.ask(&publisher, &queues[0], &waiting, duration).await;
        stages.abort_all();
        for queue in &queues {
            publisher.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
        }
        consuming.close(200, "done".into()).await?;
        publishing.close(200, "done".into()).await?;
        report
    }

    async fn ask(&self, publisher: &Channel, first: &str, waiting: &Waiting, duration: Duration) -> Result<AmqpReport> {
        let started = Instant::now();
        let mut askers = JoinSet::new();
        for asker in 0..self.in_flight {
            let (publisher, first, waiting) = (publisher.clone(), first.to_owned(), Arc::clone(waiting));
            let payload = vec![b'x'; self.payload];
            askers.spawn(async move {
                let mut times = Vec::new();
                while started.elapsed() < duration {
                    let asked = Instant::now();
                    let id = format!("{asker}-{}", times.len());
                    let (ended, end) = oneshot::channel();
                    waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), ended);
                    publish(&publisher, &first, &payload, &id).await?;
                    timeout(PATIENCE, end).await.map_err(|_| std::io::Error::other("a message was lost"))?.ok();
                    times.push(asked.elapsed());
                }
                Ok::<_, lapin::Error>(times)
            });
        }
        let mut micros = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).map_err(std::io::Error::other)?;
        while let Some(times) = askers.join_next().await {
            for time in times.map_err(std::io::Error::other)?? {
                micros.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
            }
        }
        Ok(AmqpReport { rate: micros.len() as f64 / started.elapsed().as_secs_f64(), micros })
    }
}

/// One hop: takes from its queue, gives to the next one or to whoever waits, then acknowledges.
struct Stage {
    publisher: Channel,
    next: Option<String>,
    waiting: Waiting,
    in_flight: u16,
}

impl Stage {
    async fn run(self, consumer: lapin::Consumer) -> Result<()> {
        let mut handled = consumer.map(|delivery| self.handle(delivery)).buffer_unordered(usize::from(self.in_flight));
        while let Some(outcome) = handled.next().await {
            outcome?;
        }
        Ok(())
    }

    async fn handle(&self, delivery: Result<Delivery>) -> Result<()> {
        let delivery = delivery?;
        let id = delivery.properties.correlation_id().as_ref().map(ToString::to_string).unwrap_or_default();
        match &self.next {
            Some(next) => publish(&self.publisher, next, &delivery.data, &id).await?,
            None => {
                let ended = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                if let Some(ended) = ended {
                    let _ = ended.send(());
                }
            }
        }
        delivery.ack(BasicAckOptions::default()).await?;
        Ok(())
    }
}

async fn consume(channel: &Channel, queue: &str, prefetch: u16) -> Result<lapin::Consumer> {
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    channel.basic_consume(queue.into(), queue.into(), BasicConsumeOptions::default(), FieldTable::default()).await
}

async fn publish(channel: &Channel, queue: &str, payload: &[u8], id: &str) -> Result<()> {
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_correlation_id(id.into());
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    channel.basic_publish("".into(), queue.into(), options, payload, properties).await?.await?;
    Ok(())
}
