//! Jobs that failed and are to be tried again later, and those that went back to a queue that was full.
//!
//! A broker's own means, a queue whose messages expire into another, moves them without confirms, so that a crash can lose
//! one. Instead hosts take them from a queue that nothing expires in, hold each until it is due, publish it to those it is
//! for, and ack it once that is confirmed. What a host holds when it dies goes back, and another host takes it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lapin::message::Delivery as Message;
use lapin::options::BasicAckOptions;
use lapin::types::ShortString;
use mshost_bus::{Death, DeathReason, EXPIRED, Job};

use super::attend::{self, attend};
use super::connection::Link;
use super::message::Headers;
use super::publisher::PublishError;
use super::{Shared, message, names};

/// The most jobs that a host holds for each class of delays.
const WINDOW: u16 = 256;
/// RabbitMQ closes a channel that holds a message for longer than its `consumer_timeout`, 30 min by default. What is due
/// later goes to the end of its queue.
const HOLD_MAX: Duration = Duration::from_secs(10 * 60);
/// Wait before another try, where the broker does not take a job.
const AGAIN: Duration = Duration::from_secs(1);

/// Serves the queue of each class of delays until the bus is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let each = names::RETRY_FROM.map(|from| {
        attend(Arc::clone(&shared), names::retry(from), |shared, link, queue| Box::pin(serve(shared, link, queue)))
    });
    futures::future::join_all(each).await;
}

async fn serve(shared: Arc<Shared>, link: Link, queue: ShortString) -> lapin::Result<()> {
    let mut stream = attend::consume(&shared, &link, queue, WINDOW).await?;
    let mut held = FuturesUnordered::new();
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(message) => held.push(hold(Arc::clone(&shared), link.clone(), message?)),
                None => return Ok(()),
            },
            Some(moved) = held.next(), if !held.is_empty() => moved?,
        }
    }
}

/// Keeps a job until it is due, and passes it on.
async fn hold(shared: Arc<Shared>, link: Link, message: Message) -> lapin::Result<()> {
    let due = Headers::of(&message.properties).time(names::DUE).unwrap_or(SystemTime::UNIX_EPOCH);
    let left = due.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(left.min(HOLD_MAX)).await;
    let moving = move_on(Arc::clone(&shared), message, left.saturating_sub(HOLD_MAX));
    attend::to_its_end(&shared, link, moving).await
}

async fn move_on(shared: Arc<Shared>, mut message: Message, left: Duration) -> lapin::Result<()> {
    let body = attend::body(&mut message);
    // A quorum queue's own count is of hosts that held it, not of workers that it may have killed.
    let deliveries = Headers::of(&message.properties).counted();
    let settled = match message::decode(shared.codec, &message.properties, &body) {
        Ok((job, _)) => loop {
            if pass_on(&shared, &job, deliveries, left).await.is_ok() {
                break true;
            }
            tokio::select! {
                () = shared.closed.cancelled() => break false,
                () = tokio::time::sleep(AGAIN) => {}
            }
        },
        Err(malformed) => {
            shared.malformed.report("job", malformed.kind, &malformed.reason);
            shared.bury_malformed(&message.properties, body, &malformed).await.is_ok()
        }
    };
    if settled {
        message.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// Whether it is answered for elsewhere now.
async fn pass_on(shared: &Shared, job: &Job, deliveries: u32, left: Duration) -> Result<(), ()> {
    if !left.is_zero() {
        return shared.publish_delayed(job, left, deliveries).await.map_err(drop);
    }
    if job.is_expired(SystemTime::now()) {
        let death = Death::now(DeathReason::Expired, EXPIRED, None);
        return shared.give_up(job, death).await.map_err(drop);
    }
    match shared.publish_job(job, deliveries).await {
        Ok(()) => Ok(()),
        Err(PublishError::Returned) => shared.keep_for_the_next(job, deliveries).await.map_err(drop),
        Err(_) => Err(()),
    }
}
