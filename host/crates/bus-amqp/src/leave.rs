//! What a worker leaves behind: nothing that would take jobs for nobody.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Queue};
use mshost_bus::{Absent, BusError, Death, Durability};
use mshost_core::ids::WorkerRef;
use tracing::debug;

use super::names::QueueKind;
use super::{Shared, attend, errors, hold, message, names};

/// How long leaving may take; a broker that is away keeps the queues, and the next worker of the type finds them.
const LIMIT: Duration = Duration::from_secs(5);

/// Does for a worker of another host what it could not do itself.
pub(super) async fn reap(shared: &Shared, worker: &WorkerRef) -> Result<(), BusError> {
    let reaping = async {
        let link = shared.link()?;
        let remove = async {
            let gone = remove_id(shared, &link.consume.create_channel().await?, worker).await?;
            remove_type(shared, &link.consume, worker, None).await?;
            Ok(gone)
        };
        link.down.or(remove).await
    };
    let what = format!("tidy up after {}", worker.id);
    match reaping.await.map_err(|error| errors::explain(&what, &error))? {
        true => Ok(()),
        false => Err(BusError::Unavailable(format!("cannot {what}: the broker still has it as a consumer"))),
    }
}

/// Takes away the worker's own queue, and the type's where this was its last worker and no job waits there. From then
/// on senders hear at once that nobody is there.
pub(super) async fn leave(shared: &Arc<Shared>, worker: &WorkerRef, like: QueueKind) {
    let leaving = async {
        let link = shared.link()?;
        let remove = async {
            remove_id(shared, &link.consume.create_channel().await?, worker).await?;
            remove_type(shared, &link.consume, worker, Some(like)).await
        };
        link.down.or(remove).await
    };
    in_time(shared, worker, leaving).await;
}

/// The same for the type's queue alone.
pub(super) async fn leave_type(shared: &Arc<Shared>, worker: &WorkerRef, like: QueueKind) {
    let leaving = async {
        let link = shared.link()?;
        link.down.or(remove_type(shared, &link.consume, worker, Some(like))).await
    };
    in_time(shared, worker, leaving).await;
}

async fn in_time(shared: &Shared, worker: &WorkerRef, leaving: impl Future<Output = lapin::Result<()>>) {
    // The caller's runtime need not have a clock; ours has.
    let timeout = {
        let _entered = shared.runtime.enter();
        tokio::time::sleep(LIMIT)
    };
    let result = tokio::select! {
        result = leaving => result,
        () = timeout => return debug!(target: "mshost::bus", "{} left while the broker was away", worker.id),
    };
    if let Err(error) = result {
        debug!(target: "mshost::bus", "{} left its queues behind: {}", worker.id, errors::text(&error));
    }
}

/// Gives up the jobs that wait for a worker which will not come back, then deletes its queue. `false` where that has to wait.
async fn remove_id(shared: &Shared, channel: &Channel, worker: &WorkerRef) -> lapin::Result<bool> {
    let queue = names::id_queue(&worker.id);
    match look(channel, queue.clone()).await? {
        None => return Ok(true),
        // The broker has not noticed yet that it is gone; or it is not.
        Some(state) if state.consumer_count() > 0 => return Ok(false),
        Some(_) => {}
    }
    names::unbind_jobs(channel, queue.clone(), (*worker.id).into()).await?;
    while let Some(message) = channel.basic_get(queue.clone(), BasicGetOptions::default()).await? {
        let mut message = message.delivery;
        let body = attend::body(&mut message);
        let given_up = match message::decode(shared.codec, &message.properties, &body) {
            Ok((job, _)) => shared.give_up(&job, Death::no_worker(&job)).await,
            Err(malformed) => {
                shared.malformed.report("job", malformed.kind, &malformed.reason);
                shared.bury_malformed(&message.properties, body, &malformed).await
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

/// Where nobody consumes from the type's queue and nothing waits in it, takes away what leads there, and the queue itself
/// where that can be done on condition. `like`: what its queues are like, where that is known.
async fn remove_type(
    shared: &Shared,
    connection: &lapin::Connection,
    worker: &WorkerRef,
    like: Option<QueueKind>,
) -> lapin::Result<()> {
    if shared.absent == Absent::Wait || another_stays(shared, worker) {
        return Ok(());
    }
    let (queue, key) = (names::type_queue(&worker.worker_type), ShortString::from(&*worker.worker_type));
    let channel = connection.create_channel().await?;
    if !is_unused(&channel, queue.clone()).await? {
        return Ok(());
    }
    // A message that was routed to a queue while it goes away is confirmed and lost. So no more are routed there first.
    names::unbind_jobs(&channel, queue.clone(), key.clone()).await?;
    let gone = match like {
        Some(like)
            if like.durability != Durability::Replicated
                && !hold::is_held(&connection.create_channel().await?, &worker.worker_type).await? =>
        {
            channel.queue_delete(queue.clone(), only_unused()).await.is_ok()
        }
        // What somebody has in hand may come back to it, and waits there for the next worker.
        // Whoever joins binds the queue once more after it consumes, so that one of us two sees the other.
        _ => is_unused(&channel, queue.clone()).await?,
    };
    if !gone {
        // A worker has joined, or a job has come, in between.
        let channel = connection.create_channel().await?;
        names::bind(&channel, queue, names::JOBS, key).await?;
    }
    Ok(())
}

/// Whether this host has another worker of the type. One that has paused does not consume from its queue, and will again.
fn another_stays(shared: &Shared, worker: &WorkerRef) -> bool {
    shared.known.lock().values().any(|(_, place)| {
        let other = &place.worker;
        other.id != worker.id && other.worker_type == worker.worker_type && place.stays()
    })
}

async fn is_unused(channel: &Channel, queue: ShortString) -> lapin::Result<bool> {
    let state = look(channel, queue).await?;
    Ok(state.is_some_and(|state| state.consumer_count() == 0 && state.message_count() == 0))
}

/// How a queue is, where there is one. Where there is none the channel is closed.
pub(super) async fn look(channel: &Channel, queue: ShortString) -> lapin::Result<Option<Queue>> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue, passive, FieldTable::default()).await {
        Ok(state) => Ok(Some(state)),
        Err(error) if errors::code(&error) == Some(errors::NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

fn only_unused() -> QueueDeleteOptions {
    QueueDeleteOptions { if_unused: true, if_empty: true, ..QueueDeleteOptions::default() }
}
