//! Queues that hosts themselves take from, for as long as the bus is open.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use lapin::message::Delivery as Message;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{ConnectionState, ErrorKind};
use mshost_bus::Durability;
use tracing::{debug, warn};

use super::connection::{Link, next_link};
use super::{Shared, errors, made, names};

/// Wait before another try, where consuming or moving a message on fails.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Takes from a queue until the link breaks or the queue goes.
pub(super) type Serve = fn(Arc<Shared>, Link, ShortString) -> BoxFuture<'static, lapin::Result<()>>;

/// Serves a queue over and over until the bus is closed. All hosts on a broker do, and share what is in it.
pub(super) async fn attend(shared: Arc<Shared>, queue: ShortString, serve: Serve) {
    let mut links = shared.link.subscribe();
    let mut epoch = 0;
    while let Some(link) = next_link(&mut links, &shared, epoch).await {
        epoch = link.epoch;
        while link.is_up() {
            let served = tokio::select! {
                () = shared.closed.cancelled() => return,
                served = link.down.or(serve(Arc::clone(&shared), link.clone(), queue.clone())) => served,
            };
            if let Err(error) = served {
                debug!(target: "mshost::bus", "{queue} waits: {}", errors::text(&error));
            }
            tokio::select! {
                () = shared.closed.cancelled() => return,
                () = tokio::time::sleep(RETRY_WAIT) => {}
            }
        }
    }
}

/// Makes sure that a queue is there, and takes up to `window` messages from it at a time.
pub(super) async fn consume(
    shared: &Shared,
    link: &Link,
    queue: ShortString,
    window: u16,
) -> lapin::Result<lapin::Consumer> {
    declare(shared, link, queue.clone(), None).await?;
    let channel = link.consume.create_channel().await?;
    channel.basic_qos(window, BasicQosOptions::default()).await?;
    let what = format!("consume from {queue}");
    let consuming = channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default());
    link.answer(shared, &what, consuming).await
}

/// Declares all the queues that hosts share, before anything can be published to them.
pub(super) async fn declare_all(shared: &Shared, link: &Link) -> lapin::Result<()> {
    let dead = declare(shared, link, names::DEAD.into(), Some(shared.limits.dead_letters));
    let others = names::RETRY_FROM.map(names::retry).into_iter().chain([names::UNDONE.into()]);
    let others = futures::future::try_join_all(others.map(|queue| declare(shared, link, queue, None)));
    futures::future::try_join(dead, others).await.map(drop)
}

/// Declares a shared queue; where it is another than the settings say, that is used, and said.
pub(super) async fn declare(
    shared: &Shared,
    link: &Link,
    queue: ShortString,
    limit: Option<usize>,
) -> lapin::Result<()> {
    let is_new = shared.durability == Durability::Replicated && !made::is_there(&link.consume, queue.clone()).await?;
    let differs = names::declare_shared(&link.consume, queue.clone(), shared.durability, limit).await?;
    if let Some(difference) = differs {
        warn!(target: "mshost::bus", "{queue} is used as it is, which is not as [bus] says: {difference}");
    }
    if is_new {
        shared.made.note();
        shared.made.kept().await;
    }
    Ok(())
}

/// Does to its end what was begun with a message, also where the bus is closed meanwhile, which waits for it: a message that
/// was passed on and not acked would come again. A link that breaks ends it, since the broker has handed it to another.
pub(super) async fn to_its_end<T: Send + 'static>(
    shared: &Shared,
    link: Link,
    work: impl Future<Output = lapin::Result<T>> + Send + 'static,
) -> lapin::Result<T> {
    let ended = shared.tasks.spawn_on(async move { link.down.or(work).await }, &shared.runtime).await;
    // It failed only where the runtime ends.
    ended.unwrap_or_else(|_| Err(ErrorKind::InvalidConnectionState(ConnectionState::Closed).into()))
}

/// A message's parts, as they are needed here.
pub(super) fn body(message: &mut Message) -> Bytes {
    Bytes::from(std::mem::take(&mut message.data))
}
