//! The original's workers on the same broker: their jobs by a queue that all hosts share, their acks by one of one's own.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use lapin::Acker;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use mshost_bus::codec::{NOTIFICATIONS, WireJob, decode_job};
use mshost_bus::{MsjsEvent, MsjsSubscription, Receipt};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::connection::{Down, Link, backoff, next_link};
use super::malformed::is_readable;
use super::{Shared, errors, names};

/// How many of each kind the broker hands out before it is told what became of the first.
const PREFETCH: u16 = 256;

/// Ends its task when dropped.
pub(super) struct AmqpForeign {
    events: mpsc::Receiver<MsjsEvent>,
    _left: DropGuard,
}

/// Listens, from when the bus can be used.
pub(super) fn listen(shared: &Arc<Shared>) -> AmqpForeign {
    let (sender, events) = mpsc::channel(PREFETCH.into());
    let left = CancellationToken::new();
    shared.runtime.spawn(keep(Arc::clone(shared), sender, left.clone()));
    AmqpForeign { events, _left: left.drop_guard() }
}

#[async_trait]
impl MsjsSubscription for AmqpForeign {
    async fn next(&mut self) -> Option<MsjsEvent> {
        self.events.recv().await
    }
}

/// Hears on each link in turn.
async fn keep(shared: Arc<Shared>, events: mpsc::Sender<MsjsEvent>, left: CancellationToken) {
    let mut links = shared.link.subscribe();
    let mut epoch = 0;
    loop {
        let link = tokio::select! {
            () = left.cancelled() => return,
            link = next_link(&mut links, &shared, epoch) => link,
        };
        let Some(link) = link else { return };
        epoch = link.epoch;
        let mut backoff = backoff();
        while link.is_up() {
            let heard = tokio::select! {
                () = left.cancelled() => return,
                () = shared.closed.cancelled() => return,
                heard = link.down.or(hear(&shared, &link, &events)) => heard,
            };
            match heard {
                Ok(()) => backoff.reset(),
                Err(error) if link.is_up() => {
                    warn!(target: "mshost::bus", "{}", errors::explain("hear the workers of the original", &error));
                }
                Err(_) => {}
            }
            tokio::select! {
                () = left.cancelled() => return,
                () = shared.closed.cancelled() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }
}

/// Passes on what is heard until the broker ends it, as it does when somebody deletes a queue.
async fn hear(shared: &Arc<Shared>, link: &Link, events: &mpsc::Sender<MsjsEvent>) -> lapin::Result<()> {
    let channel = link.consume.create_channel().await?;
    names::declare_exchanges(&channel).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let consume = async |queue| {
        channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
    };
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let own = channel.queue_declare("".into(), own, FieldTable::default()).await?.name().clone();
    names::bind(&channel, own.clone(), NOTIFICATIONS, names::TAKEN.into()).await?;
    let mut acks = consume(own).await?;
    names::declare_foreign(&channel).await?;
    let mut jobs = consume(names::FOREIGN.into()).await?;
    let mut event = Some(MsjsEvent::Listening);
    loop {
        if let Some(event) = event.take()
            && events.send(event).await.is_err()
        {
            return Ok(());
        }
        let (message, is_job) = tokio::select! {
            message = acks.next() => (message, false),
            message = jobs.next() => (message, true),
        };
        let Some(message) = message else { return Ok(()) };
        let Message { data, acker, .. } = message?;
        event = match read(shared, Bytes::from(data)) {
            Some(job) if is_job => Some(MsjsEvent::Next(job, receipt(shared, acker, link.down.clone()))),
            heard => {
                acker.ack(BasicAckOptions::default()).await?;
                heard.map(MsjsEvent::Taken)
            }
        };
    }
}

/// A job, unless the message is none.
fn read(shared: &Shared, body: Bytes) -> Option<WireJob> {
    if !is_readable(shared, "notification", &body) {
        return None;
    }
    match decode_job(shared.codec, &body) {
        Ok(job) => Some(job),
        Err(malformed) => {
            shared.malformed.report("notification", malformed.kind(), &malformed.to_string());
            None
        }
    }
}

fn receipt(shared: &Arc<Shared>, acker: Acker, down: Down) -> Receipt {
    let runtime = shared.runtime.clone();
    Receipt::new(move || {
        // A link that is down has handed the message to another host already.
        runtime.spawn(async move { down.or(acker.ack(BasicAckOptions::default())).await });
    })
}
