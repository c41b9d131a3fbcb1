//! What a worker leaves behind: nothing that would take jobs for nobody.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use tracing::debug;

use super::{Shared, errors, message, names};
use crate::ids::WorkerRef;

/// How long leaving may take; a broker that is away keeps the queues, and the next worker of the type finds them.
const LIMIT: Duration = Duration::from_secs(5);

/// Takes away the worker's own queue, and the type's where this was its last worker and no job waits there. From then
/// on senders hear at once that nobody is there.
pub(super) async fn leave(shared: &Arc<Shared>, worker: &WorkerRef) {
    let leaving = async {
        let link = shared.link()?;
        let remove = async {
            remove_id(shared, &link.consume.create_channel().await?, worker).await?;
            remove_type(&link.consume, worker).await
        };
        link.down.or(remove).await
    };
    in_time(shared, worker, leaving).await;
}

/// The same for the type's queue alone.
pub(super) async fn leave_type(shared: &Arc<Shared>, worker: &WorkerRef) {
    let leaving = async {
        let link = shared.link()?;
        link.down.or(remove_type(&link.consume, worker)).await
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

/// Reports the jobs that wait for a worker which will not come back, then deletes its queue.
async fn remove_id(shared: &Shared, channel: &Channel, worker: &WorkerRef) -> lapin::Result<()> {
    let queue = names::id_queue(&worker.id);
    if !exists(channel, queue.clone()).await? {
        return Ok(());
    }
    names::unbind_jobs(channel, queue.clone(), (*worker.id).into()).await?;
    while let Some(message) = channel.basic_get(queue.clone(), BasicGetOptions::default()).await? {
        let message = message.delivery;
        match message::decode(shared.codec, &message.properties, &Bytes::from(message.data)) {
            Ok((job, _)) => {
                if shared.report_no_worker(job).await.is_err() {
                    // Not told: the message stays, and with it the queue until it expires.
                    return Ok(());
                }
            }
            Err(malformed) => shared.malformed.report("job", malformed.kind, &malformed.reason),
        }
        message.acker.ack(BasicAckOptions::default()).await?;
    }
    channel.queue_delete(queue, only_unused()).await.map(drop)
}

/// Deletes the type's queue if nobody consumes from it and nothing waits in it.
async fn remove_type(connection: &lapin::Connection, worker: &WorkerRef) -> lapin::Result<()> {
    let (queue, key) = (names::type_queue(&worker.worker_type), ShortString::from(&*worker.worker_type));
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let state = match channel.queue_declare(queue.clone(), passive, FieldTable::default()).await {
        Err(error) if errors::code(&error) == Some(errors::NOT_FOUND) => return Ok(()),
        state => state?,
    };
    if state.consumer_count() > 0 || state.message_count() > 0 {
        return Ok(());
    }
    // A message that was routed to a queue while it goes away is confirmed and lost. So no more are routed there first.
    names::unbind_jobs(&channel, queue.clone(), key.clone()).await?;
    if channel.queue_delete(queue.clone(), only_unused()).await.is_err() {
        // A worker has joined, or a job has come, in between.
        let channel = connection.create_channel().await?;
        names::bind_jobs(&channel, queue, key).await?;
    }
    Ok(())
}

async fn exists(channel: &Channel, queue: ShortString) -> lapin::Result<bool> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue, passive, FieldTable::default()).await {
        Ok(_) => Ok(true),
        Err(error) if errors::code(&error) == Some(errors::NOT_FOUND) => Ok(false),
        Err(error) => Err(error),
    }
}

fn only_unused() -> QueueDeleteOptions {
    QueueDeleteOptions { if_unused: true, if_empty: true, ..QueueDeleteOptions::default() }
}
