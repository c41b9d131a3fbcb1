//! What MicroServices.js's workers say on the same broker: their jobs by a queue that all hosts share, their acks by one of each host.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use lapin::Acker;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use mshost_bus::codec::{NOTIFICATIONS, decode_job};
use mshost_bus::{MsjsEvent, MsjsReceipt, MsjsSubscription, WireJob};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::amqp_error;
use super::broker_objects::{names, queues};
use super::engine::AmqpEngine;
use super::link::connection::BrokerLink;
use super::link::connectivity::backoff;

/// How many of each kind the broker hands out before it is told what became of the first.
const PREFETCH: u16 = 256;

/// Ends its task when dropped.
pub(super) struct MsjsListener {
    events: mpsc::Receiver<MsjsEvent>,
    _left: DropGuard,
}

/// Listens, from when the bus can be used.
pub(super) fn listen(engine: &Arc<AmqpEngine>) -> MsjsListener {
    let (sender, events) = mpsc::channel(PREFETCH.into());
    let left = CancellationToken::new();
    engine.runtime.spawn(keep(Arc::clone(engine), sender, left.clone()));
    MsjsListener { events, _left: left.drop_guard() }
}

#[async_trait]
impl MsjsSubscription for MsjsListener {
    async fn next(&mut self) -> Option<MsjsEvent> {
        self.events.recv().await
    }
}

/// Hears on each link in turn.
async fn keep(engine: Arc<AmqpEngine>, events: mpsc::Sender<MsjsEvent>, left: CancellationToken) {
    let mut links = engine.connectivity.links();
    loop {
        let link = tokio::select! {
            () = left.cancelled() => return,
            link = links.next() => link,
        };
        let Some(link) = link else { return };
        let mut backoff = backoff();
        while link.is_up() {
            let heard = tokio::select! {
                () = left.cancelled() => return,
                () = engine.closed() => return,
                heard = link.down.or(hear(&engine, &link, &events)) => heard,
            };
            match heard {
                Ok(()) => backoff.reset(),
                Err(error) if link.is_up() => {
                    warn!(target: "mshost::bus", "{}", amqp_error::explain("hear the workers of MicroServices.js", &error));
                }
                Err(_) => {}
            }
            tokio::select! {
                () = left.cancelled() => return,
                () = engine.closed() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }
}

/// Passes on what is heard until the broker ends it, as it does when an operator deletes a queue.
async fn hear(engine: &Arc<AmqpEngine>, link: &BrokerLink, events: &mpsc::Sender<MsjsEvent>) -> lapin::Result<()> {
    let (mut acks, mut jobs) = link.answer("hear the workers of MicroServices.js", consume(link)).await?;
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
        event = match read(engine, Bytes::from(data)) {
            Some(job) if is_job => Some(MsjsEvent::Next(job, receipt(engine, acker, link.clone()))),
            heard => {
                link.answer("ack a message", acker.ack(BasicAckOptions::default())).await?;
                heard.map(MsjsEvent::Taken)
            }
        };
    }
}

/// Starts the consumers of acks and of jobs.
async fn consume(link: &BrokerLink) -> lapin::Result<(lapin::Consumer, lapin::Consumer)> {
    let channel = link.consume.create_channel().await?;
    queues::declare_exchanges(&channel).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let start = async |queue| {
        channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
    };
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let own = channel.queue_declare("".into(), own, FieldTable::default()).await?.name().clone();
    queues::bind(&channel, own.clone(), NOTIFICATIONS, names::MSJS_TAKEN.into()).await?;
    let acks = start(own).await?;
    queues::declare_msjs_jobs(&channel).await?;
    let jobs = start(names::MSJS_JOBS.into()).await?;
    Ok((acks, jobs))
}

/// A job, unless the message is none.
fn read(engine: &AmqpEngine, body: Bytes) -> Option<WireJob> {
    if !engine.malformed.is_readable("notification", &body) {
        return None;
    }
    match decode_job(engine.codec, &body) {
        Ok(job) => Some(job),
        Err(malformed) => {
            engine.malformed.report("notification", malformed.kind(), &malformed.to_string());
            None
        }
    }
}

fn receipt(engine: &Arc<AmqpEngine>, acker: Acker, link: BrokerLink) -> MsjsReceipt {
    let runtime = engine.runtime.clone();
    MsjsReceipt::new(move || {
        // A link that is down has handed the message to another host already.
        runtime.spawn(async move { link.answer("ack a job", acker.ack(BasicAckOptions::default())).await });
    })
}
