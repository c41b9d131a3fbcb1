//! Deletes a departing worker's queues, so that no job is routed to an unattended queue.

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeleteOptions};
use lapin::types::ShortString;
use mshost_bus::{Absent, BusError, Death, Durability};
use mshost_core::ids::WorkerRef;
use tracing::debug;

use super::in_hand_marker;
use crate::amqp_error;
use crate::broker_objects::names;
use crate::broker_objects::queues::{self, JobQueueKind, look};
use crate::engine::AmqpEngine;
use crate::message::decode::decode;
use crate::shared_consumers;

/// How long leaving may take; a broker that is away keeps the queues, and the next worker of the type finds them.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Deletes the queues of a worker of another host that died.
pub(crate) async fn delete_queue_of(engine: &AmqpEngine, worker: &WorkerRef) -> Result<(), BusError> {
    let reaping = async {
        let link = engine.connectivity.link()?;
        let remove = async {
            let gone = remove_id(engine, &link.consume.create_channel().await?, worker).await?;
            remove_type(engine, &link.consume, worker, None).await?;
            Ok(gone)
        };
        link.down.or(remove).await
    };
    let (what, limit) = (format!("tidy up after {}", worker.id), engine.limits.answer_timeout);
    match engine.clock.within(limit, reaping).await {
        Some(Ok(true)) => Ok(()),
        Some(Ok(false)) => Err(BusError::Unavailable(format!("cannot {what}: the broker still has it as a consumer"))),
        Some(Err(error)) => Err(amqp_error::explain(&what, &error)),
        None => Err(BusError::Unavailable(format!("cannot {what}: it takes longer than {limit:?}"))),
    }
}

/// Deletes the worker's own queue, and the type's where this was its last worker and no job waits there. From then
/// on senders hear at once that no worker is there.
pub(super) async fn leave(engine: &Arc<AmqpEngine>, worker: &WorkerRef, kind: JobQueueKind) {
    let leaving = async {
        let link = engine.connectivity.link()?;
        let remove = async {
            remove_id(engine, &link.consume.create_channel().await?, worker).await?;
            remove_type(engine, &link.consume, worker, Some(kind)).await
        };
        link.down.or(remove).await
    };
    in_time(engine, worker, leaving).await;
}

/// The same for the type's queue alone.
pub(super) async fn leave_type(engine: &Arc<AmqpEngine>, worker: &WorkerRef, kind: JobQueueKind) {
    let leaving = async {
        let link = engine.connectivity.link()?;
        link.down.or(remove_type(engine, &link.consume, worker, Some(kind))).await
    };
    in_time(engine, worker, leaving).await;
}

async fn in_time(engine: &AmqpEngine, worker: &WorkerRef, leaving: impl Future<Output = lapin::Result<()>>) {
    match engine.clock.within(LEAVE_TIMEOUT, leaving).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            debug!(target: "mshost::bus", "{} left its queues behind: {}", worker.id, amqp_error::text(&error));
        }
        None => debug!(target: "mshost::bus", "{} left while the broker was away", worker.id),
    }
}

/// Gives up the jobs that wait for a worker which will not come back, then deletes its queue. `false` where that has to wait.
async fn remove_id(engine: &AmqpEngine, channel: &Channel, worker: &WorkerRef) -> lapin::Result<bool> {
    let queue = names::own_queue(&worker.id);
    match look(channel, queue.clone()).await? {
        None => return Ok(true),
        // The broker has not noticed yet that it is gone; or it is not.
        Some(state) if state.consumer_count() > 0 => return Ok(false),
        Some(_) => {}
    }
    queues::unbind_jobs(channel, queue.clone(), (*worker.id).into()).await?;
    while let Some(message) = channel.basic_get(queue.clone(), BasicGetOptions::default()).await? {
        let mut message = message.delivery;
        let body = shared_consumers::body(&mut message);
        let given_up = match decode(engine.codec, &message.properties, &body) {
            Ok((job, _)) => engine.report_and_dead_letter(&job, Death::no_worker(&job)).await,
            Err(malformed) => {
                engine.malformed.report("job", malformed.kind, &malformed.reason);
                engine.dead_letter_malformed(&message.properties, body, &malformed).await
            }
        };
        if given_up.is_err() {
            // Not told: the message stays, and with it the queue until it expires.
            return Ok(false);
        }
        message.acker.ack(BasicAckOptions::default()).await?;
    }
    // Nothing leads there any more. A quorum queue cannot be asked to go only if it is unused.
    channel.queue_delete(queue, QueueDeleteOptions::default()).await.map(|_| true)
}

/// Where no worker consumes from the type's queue and nothing waits in it, removes its binding, and the queue itself where that can
/// be done on condition. `kind`: what its queues are like, where that is known.
async fn remove_type(
    engine: &AmqpEngine,
    connection: &lapin::Connection,
    worker: &WorkerRef,
    kind: Option<JobQueueKind>,
) -> lapin::Result<()> {
    if engine.absent == Absent::Wait || engine.sessions.has_another(worker) {
        return Ok(());
    }
    let (queue, key) = (names::type_queue(&worker.worker_type), ShortString::from(&*worker.worker_type));
    let channel = connection.create_channel().await?;
    if !is_unused(&channel, queue.clone()).await? {
        return Ok(());
    }
    // A message that was routed to a queue while it goes away is confirmed and lost. So no more are routed there first.
    queues::unbind_jobs(&channel, queue.clone(), key.clone()).await?;
    let gone = match kind {
        Some(kind)
            if kind.durability != Durability::Replicated
                && !in_hand_marker::is_placed(&connection.create_channel().await?, &worker.worker_type).await? =>
        {
            channel.queue_delete(queue.clone(), only_unused()).await.is_ok()
        }
        // What a worker has in hand may come back to it, and waits there for the next worker.
        // A worker that joins binds the queue once more after it consumes, so that one of the two sees the other.
        _ => is_unused(&channel, queue.clone()).await?,
    };
    if !gone {
        // A worker has joined, or a job has come, in between.
        let channel = connection.create_channel().await?;
        queues::bind(&channel, queue, names::JOBS, key).await?;
    }
    Ok(())
}

async fn is_unused(channel: &Channel, queue: ShortString) -> lapin::Result<bool> {
    let state = look(channel, queue).await?;
    Ok(state.is_some_and(|state| state.consumer_count() == 0 && state.message_count() == 0))
}

fn only_unused() -> QueueDeleteOptions {
    QueueDeleteOptions { if_unused: true, if_empty: true, ..QueueDeleteOptions::default() }
}
