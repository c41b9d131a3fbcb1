//! Dead letters: looked at, sent again, forgotten.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use mshost_bus::{BusError, DeadLetter, Death, DeathReason, Job, Requeued, SendError};

use super::attend;
use super::connection::Link;
use super::message::Headers;
use super::{Shared, errors, message, names};

/// How long looking waits for one more message. Those that the broker counts may be in another's hands.
const PATIENCE: Duration = Duration::from_secs(2);

/// The dead letters, oldest first. They are taken and go back, in their order, when the channel closes.
pub(super) async fn list(shared: &Shared, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
    let list = async {
        let mut look = Look::begin(shared, limit).await?;
        let mut letters = Vec::new();
        while let Some(message) = look.next(shared).await? {
            letters.push(letter(shared, &message.properties, &Bytes::from(message.data)));
        }
        look.end().await;
        Ok(letters)
    };
    list.await.map_err(|error| errors::explain("look at the dead letters", &error))
}

/// See [`mshost_bus::Bus::keep_dead`].
pub(super) async fn keep(shared: &Shared, letter: DeadLetter) -> Result<(), BusError> {
    let DeadLetter { job, raw, death, .. } = letter;
    match job {
        Some(job) => shared.bury(&job, &death).await,
        None => shared.bury_as_it_came(&BasicProperties::default(), raw.unwrap_or_default(), &death).await,
    }
}

/// See [`mshost_bus::Bus::requeue_dead`].
pub(super) async fn requeue(shared: &Shared, ids: &[String]) -> Result<Requeued, BusError> {
    let mut requeued = Requeued::default();
    let requeue = async {
        let mut look = Look::begin(shared, usize::MAX).await?;
        while let Some(message) = look.next(shared).await? {
            let Message { properties, data, acker, .. } = message;
            let letter = letter(shared, &properties, &Bytes::from(data));
            if !ids.contains(&letter.id) {
                continue;
            }
            match send_again(shared, letter.job).await {
                Ok(()) => {
                    look.link.down.or(acker.ack(BasicAckOptions::default())).await?;
                    requeued.sent.push(letter.id);
                }
                Err(error) => requeued.refused.push((letter.id, error)),
            }
        }
        look.end().await;
        Ok(())
    };
    requeue.await.map_err(|error| errors::explain("send dead letters again", &error))?;
    let found = |id: &String| requeued.sent.contains(id) || requeued.refused.iter().any(|(refused, _)| refused == id);
    requeued.unknown = ids.iter().filter(|id| !found(id)).cloned().collect();
    Ok(requeued)
}

async fn send_again(shared: &Shared, job: Option<Job>) -> Result<(), SendError> {
    let Some(job) = job else {
        return Err(SendError::Unavailable("it is not a job that could be sent".to_owned()));
    };
    shared.send(&Job { attempt: 1, deadline: None, ..job }).await
}

/// Forgets all, and says how many.
pub(super) async fn purge(shared: &Shared) -> Result<u64, BusError> {
    let purge = async {
        let link = shared.link()?;
        let purge = async {
            let channel = link.consume.create_channel().await?;
            messages(&channel).await?;
            channel.queue_purge(names::DEAD.into(), QueuePurgeOptions::default()).await
        };
        link.down.or(purge).await
    };
    purge.await.map(u64::from).map_err(|error| errors::explain("purge the dead letters", &error))
}

/// A look at the dead letters that are there now.
struct Look {
    link: Link,
    channel: Channel,
    stream: Option<lapin::Consumer>,
    left: usize,
}

impl Look {
    async fn begin(shared: &Shared, limit: usize) -> lapin::Result<Self> {
        let link = shared.link()?;
        let begin = async {
            attend::declare(shared, &link, names::DEAD.into(), Some(shared.limits.dead_letters)).await?;
            let channel = link.consume.create_channel().await?;
            let left = usize::try_from(messages(&channel).await?).unwrap_or(usize::MAX).min(limit);
            if left == 0 {
                return Ok((channel, None, left));
            }
            // All of them have to be in our hands at once: what is handed back before the end comes again.
            channel.basic_qos(u16::try_from(left).unwrap_or(0), BasicQosOptions::default()).await?;
            let (queue, options) = (names::DEAD.into(), BasicConsumeOptions::default());
            let stream = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
            Ok((channel, Some(stream), left))
        };
        let (channel, stream, left) = link.down.or(begin).await?;
        Ok(Self { link, channel, stream, left })
    }

    async fn next(&mut self, shared: &Shared) -> lapin::Result<Option<Message>> {
        let Some(stream) = self.stream.as_mut().filter(|_| self.left > 0) else { return Ok(None) };
        self.left -= 1;
        // The caller's runtime need not have a clock; ours has.
        let patience = {
            let _entered = shared.runtime.enter();
            tokio::time::sleep(PATIENCE)
        };
        tokio::select! {
            message = stream.next() => message.transpose(),
            () = patience => Ok(None),
        }
    }

    /// Hands back whatever was not acked.
    async fn end(self) {
        let _ = self.link.down.or(self.channel.close(200, "looked".into())).await;
    }
}

async fn messages(channel: &Channel) -> lapin::Result<u32> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(names::DEAD.into(), passive, FieldTable::default()).await?.message_count())
}

fn letter(shared: &Shared, properties: &BasicProperties, body: &Bytes) -> DeadLetter {
    let (job, raw) = match message::decode(shared.codec, properties, body) {
        Ok((job, _)) => (Some(job), None),
        Err(_) => (None, Some(body.clone())),
    };
    let id = properties.message_id().as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    // Whoever else put it there did not say why.
    let unexplained = || Death::now(DeathReason::Failed, "it is not said why", None);
    DeadLetter { id, job, raw, death: Headers::of(properties).death().unwrap_or_else(unexplained) }
}
