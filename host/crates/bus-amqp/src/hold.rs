//! What shows every host that a worker which no longer takes jobs of its type still has some of them in hand.
//!
//! A queue that is deleted takes along what was delivered from it and not settled, and a broker asked to delete it only where
//! it is empty and unused counts neither. So a worker that is about to consume no more from the type's queue consumes first
//! from another, by the channel that it has its jobs by, and whoever would delete the type's queue looks there. Nothing is ever
//! published to that one. It lasts as long as the channel, since the broker takes the jobs back together with it.

use lapin::Channel;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions};
use lapin::types::FieldTable;
use mshost_bus::Durability;
use mshost_core::ids::WorkerType;

use super::names::{self, QueueKind};
use super::place::Streams;
use super::{Shared, leave};

/// To be called before the stream of the type ends. Queues that nobody deletes need it not.
pub(super) async fn take(shared: &Shared, kind: &WorkerType, like: QueueKind, streams: &mut Streams) {
    let Some(channel) = streams.channel.as_ref() else { return };
    if like.durability == Durability::Replicated || streams.by_type.is_none() || streams.hold.is_some() {
        return;
    }
    let down = streams.down.clone();
    let taken = async {
        // A refusal must not cost the channel that the jobs came by.
        let link = shared.link()?;
        let declaring = link.consume.create_channel().await?;
        names::declare_hold(&declaring, kind).await?;
        declaring.close(200, "declared".into()).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        channel.basic_consume(names::hold(kind), "".into(), options, arguments).await
    };
    match down.or(taken).await {
        Ok(hold) => streams.hold = Some(hold),
        Err(error) => {
            tracing::debug!(target: "mshost::bus", "cannot hold the queue of {kind}: {}", super::errors::text(&error));
        }
    }
}

/// To be called once nothing is in hand any more. The broker answers after it has heard what became of the jobs.
pub(super) async fn release(streams: &mut Streams) {
    if let (Some(hold), Some(channel)) = (streams.hold.take(), streams.channel.as_ref()) {
        let cancelling = channel.basic_cancel(hold.tag(), BasicCancelOptions::default());
        let _ = streams.down.or(cancelling).await;
    }
}

/// Whether any worker of the type, of any host, has jobs in hand and does not consume.
pub(super) async fn is_held(channel: &Channel, kind: &WorkerType) -> lapin::Result<bool> {
    Ok(leave::look(channel, names::hold(kind)).await?.is_some_and(|state| state.consumer_count() > 0))
}
