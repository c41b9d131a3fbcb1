//! What the broker itself gave up: each is kept as a dead letter, and its sender is told.

use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use lapin::BasicProperties;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use mshost_bus::{BusError, Death, DeathReason, EXPIRED, Job};

use super::attend::{self, attend};
use super::connection::Link;
use super::message::Headers;
use super::{Shared, message, names};

/// How many are taken at once.
const WINDOW: u16 = 16;

/// Buries and reports until the bus is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    attend(shared, names::UNDONE.into(), |shared, link, _| Box::pin(serve(shared, link))).await;
}

async fn serve(shared: Arc<Shared>, link: Link) -> lapin::Result<()> {
    let mut stream = attend::consume(&shared, &link, names::UNDONE.into(), WINDOW).await?;
    while let Some(message) = stream.next().await {
        let settling = settle(Arc::clone(&shared), message?);
        if !attend::to_its_end(&shared, link.clone(), settling).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// `false` where it goes back, to be tried again later.
async fn settle(shared: Arc<Shared>, message: Message) -> lapin::Result<bool> {
    let acker = message.acker.clone();
    let buried = bury(&shared, message).await.is_ok();
    if buried {
        acker.ack(BasicAckOptions::default()).await?;
    } else {
        acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await?;
    }
    Ok(buried)
}

async fn bury(shared: &Shared, mut message: Message) -> Result<(), BusError> {
    let body = attend::body(&mut message);
    match message::decode(shared.codec, &message.properties, &body) {
        Ok((job, _)) => shared.give_up(&job, death(&job, &message.properties)).await,
        Err(malformed) => shared.bury_malformed(&message.properties, body, &malformed).await,
    }
}

fn death(job: &Job, properties: &BasicProperties) -> Death {
    match Headers::of(properties).broker_reason() {
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
