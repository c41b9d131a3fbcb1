//! Consumers of the host itself, on the queues that all hosts share, for as long as the bus is open.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use lapin::message::Delivery as Message;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use tracing::debug;

use super::amqp_error;
use super::engine::AmqpEngine;
use super::link::connection::{self, BrokerLink};

/// Wait before another try, where consuming or moving a message on fails.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Takes from a queue until the link breaks or the queue goes.
pub(super) type ConsumeQueue = fn(Arc<AmqpEngine>, BrokerLink, ShortString) -> BoxFuture<'static, lapin::Result<()>>;

/// Serves a queue over and over until the bus is closed. All hosts on a broker do, and share what is in it.
pub(super) async fn serve(engine: Arc<AmqpEngine>, queue: ShortString, consume: ConsumeQueue) {
    let mut links = engine.connectivity.links();
    while let Some(link) = links.next().await {
        while link.is_up() {
            let served = tokio::select! {
                () = engine.closed() => return,
                served = link.down.or(consume(Arc::clone(&engine), link.clone(), queue.clone())) => served,
            };
            if let Err(error) = served {
                debug!(target: "mshost::bus", "{queue} waits: {}", amqp_error::text(&error));
            }
            tokio::select! {
                () = engine.closed() => return,
                () = tokio::time::sleep(RETRY_WAIT) => {}
            }
        }
    }
}

/// Makes sure that a queue is there, and takes up to `window` messages from it at a time.
pub(super) async fn start_consumer(
    engine: &AmqpEngine,
    link: &BrokerLink,
    queue: ShortString,
    window: u16,
) -> lapin::Result<lapin::Consumer> {
    engine.shared_queues.declare(link, queue.clone()).await?;
    let what = format!("consume from {queue}");
    let consuming = async {
        let channel = link.consume.create_channel().await?;
        channel.basic_qos(window, BasicQosOptions::default()).await?;
        channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
    };
    link.answer(&what, consuming).await
}

/// Does to its end what was begun with a message, also where the bus is closed meanwhile, which waits for it: a message that
/// was passed on and not acked would come again. A link that breaks ends it, since the broker has handed it to another.
pub(super) async fn run_to_completion<T: Send + 'static>(
    engine: &AmqpEngine,
    link: BrokerLink,
    work: impl Future<Output = lapin::Result<T>> + Send + 'static,
) -> lapin::Result<T> {
    let ended = engine.tasks.spawn_on(async move { link.down.or(work).await }, &engine.runtime).await;
    // It failed only where the runtime ends.
    ended.unwrap_or_else(|_| Err(connection::closed()))
}

/// A message's parts, as they are needed here.
pub(super) fn body(message: &mut Message) -> Bytes {
    Bytes::from(std::mem::take(&mut message.data))
}
