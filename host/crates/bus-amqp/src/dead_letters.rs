//! Dead letters: looked at, sent again, forgotten.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use mshost_bus::{BusError, DeadLetter, Death, DeathReason, Job, Requeued, SendError};

use super::amqp_error;
use super::broker_objects::{names, queues};
use super::engine::AmqpEngine;
use super::link::connection::BrokerLink;
use super::message::decode::decode;
use super::message::headers::JobHeaders;

/// How long looking waits for one more message. Those that the broker counts may be in another's hands.
const NEXT_TIMEOUT: Duration = Duration::from_secs(2);

/// The dead letters, oldest first. They are taken and go back, in their order, when the channel closes.
pub(super) async fn list(engine: &AmqpEngine, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
    let list = async {
        let mut browser = DeadLetterBrowser::begin(engine, limit).await?;
        let mut letters = Vec::new();
        while let Some(message) = browser.next(engine).await? {
            letters.push(letter(engine, &message.properties, &Bytes::from(message.data)));
        }
        browser.end().await;
        Ok(letters)
    };
    list.await.map_err(|error| amqp_error::explain("look at the dead letters", &error))
}

/// See [`mshost_bus::DeadLetterStore::keep`].
pub(super) async fn keep(engine: &AmqpEngine, letter: DeadLetter) -> Result<(), BusError> {
    let DeadLetter { job, raw, death, .. } = letter;
    match job {
        Some(job) => engine.dead_letter(&job, &death).await,
        None => engine.dead_letter_as_it_came(&BasicProperties::default(), raw.unwrap_or_default(), &death).await,
    }
}

/// See [`mshost_bus::DeadLetterStore::requeue`].
pub(super) async fn requeue(engine: &AmqpEngine, ids: &[String]) -> Result<Requeued, BusError> {
    let mut requeued = Requeued::default();
    let requeue = async {
        let mut browser = DeadLetterBrowser::begin(engine, usize::MAX).await?;
        while let Some(message) = browser.next(engine).await? {
            let Message { properties, data, acker, .. } = message;
            let letter = letter(engine, &properties, &Bytes::from(data));
            if !ids.contains(&letter.id) {
                continue;
            }
            match send_again(engine, letter.job).await {
                Ok(()) => {
                    browser.link.answer("ack a dead letter", acker.ack(BasicAckOptions::default())).await?;
                    requeued.sent.push(letter.id);
                }
                Err(error) => requeued.refused.push((letter.id, error)),
            }
        }
        browser.end().await;
        Ok(())
    };
    requeue.await.map_err(|error| amqp_error::explain("send dead letters again", &error))?;
    let found = |id: &String| requeued.sent.contains(id) || requeued.refused.iter().any(|(refused, _)| refused == id);
    requeued.unknown = ids.iter().filter(|id| !found(id)).cloned().collect();
    Ok(requeued)
}

async fn send_again(engine: &AmqpEngine, job: Option<Job>) -> Result<(), SendError> {
    let Some(job) = job else {
        return Err(SendError::Unavailable("it is not a job that could be sent".to_owned()));
    };
    engine.send(&Job { attempt: 1, deadline: None, ..job }).await
}

/// Forgets all, and says how many.
pub(super) async fn purge(engine: &AmqpEngine) -> Result<u64, BusError> {
    let purge = async {
        let link = engine.connectivity.link()?;
        let purge = async {
            let channel = link.consume.create_channel().await?;
            messages(&channel).await?;
            channel.queue_purge(names::DEAD_LETTERS.into(), QueuePurgeOptions::default()).await
        };
        link.answer("purge the dead letters", purge).await
    };
    purge.await.map(u64::from).map_err(|error| amqp_error::explain("purge the dead letters", &error))
}

/// A look at the dead letters that are there now.
struct DeadLetterBrowser {
    link: BrokerLink,
    channel: Channel,
    stream: Option<lapin::Consumer>,
    left: usize,
}

impl DeadLetterBrowser {
    async fn begin(engine: &AmqpEngine, limit: usize) -> lapin::Result<Self> {
        let link = engine.connectivity.link()?;
        let begin = async {
            engine.shared_queues.declare(&link, names::DEAD_LETTERS.into()).await?;
            let channel = link.consume.create_channel().await?;
            let left = usize::try_from(messages(&channel).await?).unwrap_or(usize::MAX).min(limit);
            if left == 0 {
                return Ok((channel, None, left));
            }
            // All of them have to be in our hands at once: what is handed back before the end comes again.
            channel.basic_qos(u16::try_from(left).unwrap_or(0), BasicQosOptions::default()).await?;
            let (queue, options) = (names::DEAD_LETTERS.into(), BasicConsumeOptions::default());
            let stream = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
            Ok((channel, Some(stream), left))
        };
        let (channel, stream, left) = link.answer("look at the dead letters", begin).await?;
        Ok(Self { link, channel, stream, left })
    }

    async fn next(&mut self, engine: &AmqpEngine) -> lapin::Result<Option<Message>> {
        let Some(stream) = self.stream.as_mut().filter(|_| self.left > 0) else { return Ok(None) };
        self.left -= 1;
        engine.clock.within(NEXT_TIMEOUT, stream.next()).await.flatten().transpose()
    }

    /// Hands back whatever was not acked.
    async fn end(self) {
        let _ = self.link.answer("close a channel", self.channel.close(200, "looked".into())).await;
    }
}

async fn messages(channel: &Channel) -> lapin::Result<u32> {
    let queue = queues::look(channel, names::DEAD_LETTERS.into()).await?;
    Ok(queue.map_or(0, |queue| queue.message_count()))
}

fn letter(engine: &AmqpEngine, properties: &BasicProperties, body: &Bytes) -> DeadLetter {
    let (job, raw) = match decode(engine.codec, properties, body) {
        Ok((job, _)) => (Some(job), None),
        Err(_) => (None, Some(body.clone())),
    };
    let id = properties.message_id().as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    // What put it there is no host of ours, and did not say why.
    let unexplained = || Death::now(DeathReason::Failed, "it is not said why", None);
    DeadLetter { id, job, raw, death: JobHeaders::of(properties).death().unwrap_or_else(unexplained) }
}
