//! What the broker itself has dead-lettered: each is kept as a dead letter, and its sender is told.

use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use lapin::BasicProperties;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use mshost_bus::{BusError, Death, DeathReason, EXPIRED, Job};

use super::broker_objects::names;
use super::engine::AmqpEngine;
use super::link::connection::BrokerLink;
use super::message::decode::decode;
use super::message::headers::JobHeaders;
use super::shared_consumers;

/// How many are taken at once.
const WINDOW: u16 = 16;

/// Reports and keeps each until the bus is closed.
pub(super) async fn run(engine: Arc<AmqpEngine>) {
    shared_consumers::serve(engine, names::BROKER_DEAD_LETTERS.into(), |engine, link, _| {
        Box::pin(keep_each(engine, link))
    })
    .await;
}

async fn keep_each(engine: Arc<AmqpEngine>, link: BrokerLink) -> lapin::Result<()> {
    let mut stream =
        shared_consumers::start_consumer(&engine, &link, names::BROKER_DEAD_LETTERS.into(), WINDOW).await?;
    while let Some(message) = stream.next().await {
        let settling = settle(Arc::clone(&engine), link.clone(), message?);
        if !shared_consumers::run_to_completion(&engine, link.clone(), settling).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// `false` where it goes back, to be tried again later.
async fn settle(engine: Arc<AmqpEngine>, link: BrokerLink, message: Message) -> lapin::Result<bool> {
    let acker = message.acker.clone();
    let kept = keep(&engine, message).await.is_ok();
    if kept {
        link.answer("ack a dead letter", acker.ack(BasicAckOptions::default())).await?;
    } else {
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        link.answer("requeue a dead letter", acker.nack(options)).await?;
    }
    Ok(kept)
}

async fn keep(engine: &AmqpEngine, mut message: Message) -> Result<(), BusError> {
    let body = shared_consumers::body(&mut message);
    match decode(engine.codec, &message.properties, &body) {
        Ok((job, _)) => engine.report_and_dead_letter(&job, death(&job, &message.properties)).await,
        Err(malformed) => engine.dead_letter_malformed(&message.properties, body, &malformed).await,
    }
}

fn death(job: &Job, properties: &BasicProperties) -> Death {
    match JobHeaders::of(properties).broker_reason() {
        Some("expired") if job.is_expired(SystemTime::now()) => Death::now(DeathReason::Expired, EXPIRED, None),
        // Jobs for the id of a worker that does not come back expire before its queue does.
        Some("expired") => Death::no_worker(job),
        Some("delivery_limit") => {
            Death::now(DeathReason::Crashed, "the broker's delivery limit: it may kill its workers", None)
        }
        reason => {
            let error = format!("the broker gave it up ({})", reason.unwrap_or("for no stated reason"));
            Death::now(DeathReason::Failed, &error, None)
        }
    }
}
