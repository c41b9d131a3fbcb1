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

use super::broker_objects::names;
use super::engine::AmqpEngine;
use super::link::connection::BrokerLink;
use super::message::decode::decode;
use super::message::headers::{self, JobHeaders};
use super::publisher::publish_error::PublishError;
use super::shared_consumers;

/// The most jobs that a host holds for each class of delays.
const WINDOW: u16 = 256;
/// RabbitMQ closes a channel that holds a message for longer than its `consumer_timeout`, 30 min by default. What is due
/// later goes to the end of its queue.
const HOLD_MAX: Duration = Duration::from_secs(10 * 60);
/// Wait before another try, where the broker does not take a job.
const AGAIN: Duration = Duration::from_secs(1);

/// Serves the queue of each class of delays until the bus is closed.
pub(super) async fn run(engine: Arc<AmqpEngine>) {
    let each = names::RETRY_CLASSES.map(|from| {
        shared_consumers::serve(Arc::clone(&engine), names::retry_queue(from), |engine, link, queue| {
            Box::pin(hold_all(engine, link, queue))
        })
    });
    futures::future::join_all(each).await;
}

/// Holds the jobs of one class, each until it is due.
async fn hold_all(engine: Arc<AmqpEngine>, link: BrokerLink, queue: ShortString) -> lapin::Result<()> {
    let mut stream = shared_consumers::start_consumer(&engine, &link, queue, WINDOW).await?;
    let mut held = FuturesUnordered::new();
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(message) => held.push(hold_until_due(Arc::clone(&engine), link.clone(), message?)),
                None => return Ok(()),
            },
            Some(moved) = held.next(), if !held.is_empty() => moved?,
        }
    }
}

/// Keeps a job until it is due, and passes it on.
async fn hold_until_due(engine: Arc<AmqpEngine>, link: BrokerLink, message: Message) -> lapin::Result<()> {
    let due = JobHeaders::of(&message.properties).time(headers::DUE).unwrap_or(SystemTime::UNIX_EPOCH);
    let left = due.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(left.min(HOLD_MAX)).await;
    let moving = move_on(Arc::clone(&engine), link.clone(), message, left.saturating_sub(HOLD_MAX));
    shared_consumers::run_to_completion(&engine, link, moving).await
}

async fn move_on(engine: Arc<AmqpEngine>, link: BrokerLink, mut message: Message, left: Duration) -> lapin::Result<()> {
    let body = shared_consumers::body(&mut message);
    // A quorum queue's own count is of hosts that held it, not of workers that it may have killed.
    let deliveries = JobHeaders::of(&message.properties).counted();
    let settled = match decode(engine.codec, &message.properties, &body) {
        Ok((job, _)) => loop {
            if pass_on(&engine, &job, deliveries, left).await.is_ok() {
                break true;
            }
            tokio::select! {
                () = engine.closed() => break false,
                () = tokio::time::sleep(AGAIN) => {}
            }
        },
        Err(malformed) => {
            engine.malformed.report("job", malformed.kind, &malformed.reason);
            engine.dead_letter_malformed(&message.properties, body, &malformed).await.is_ok()
        }
    };
    if settled {
        link.answer("ack a retry", message.acker.ack(BasicAckOptions::default())).await?;
    }
    Ok(())
}

/// Whether it is answered for elsewhere now.
async fn pass_on(engine: &AmqpEngine, job: &Job, deliveries: u32, left: Duration) -> Result<(), ()> {
    if !left.is_zero() {
        return engine.publish_retry(job, left, deliveries).await.map_err(drop);
    }
    if job.is_expired(SystemTime::now()) {
        let death = Death::now(DeathReason::Expired, EXPIRED, None);
        return engine.report_and_dead_letter(job, death).await.map_err(drop);
    }
    match engine.publish_job(job, deliveries).await {
        Ok(()) => Ok(()),
        Err(PublishError::Unroutable) => engine.requeue_unroutable(job, deliveries).await.map_err(drop),
        Err(_) => Err(()),
    }
}
