//! Leader election: the manager that acts for all hosts is the one whose consumer the broker has chosen.
//!
//! All that compete consume from one queue, of which the broker serves a single consumer at a time, and the next one when
//! that is gone. A consumer is not told that it is the chosen one but by a message, so each publishes a claim,
//! which tells the host that gets it that it leads. The latest stays unacked, as a token that the broker hands on, with the
//! lead, when its holder's connection ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Consumer as Stream};
use tracing::{debug, warn};

use super::amqp_error;
use super::broker_objects::{names, queues};
use super::engine::AmqpEngine;
use super::link::connection::BrokerLink;
use super::link::connectivity::backoff;
use super::message::outgoing::OutgoingMessage;

/// How many claims come at once. More than the one that is held, or no newer one could take its place.
const PREFETCH: u16 = 16;
/// How often every host publishes a claim. The token is then a new one long before the broker closes the channel for a message that is
/// unacked for too long (30 minutes by default); and whatever was lost, by a purge say, is made good.
const CLAIM_INTERVAL: Duration = Duration::from_secs(60);
/// Wait before another claim, where one may not have arrived.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);

/// Competes until the bus is closed.
pub(super) async fn run(engine: Arc<AmqpEngine>) {
    let mut links = engine.connectivity.links();
    while let Some(link) = links.next().await {
        let mut backoff = backoff();
        while link.is_up() {
            let ended = tokio::select! {
                () = engine.closed() => Ok(()),
                ended = link.down.or(compete(&engine, &link)) => ended,
            };
            // Another may have been chosen by now.
            engine.leads.send_if_modified(std::mem::take);
            if ended.is_ok() {
                backoff.reset();
            }
            if let Err(error) = ended
                && link.is_up()
            {
                warn!(target: "mshost::bus", "{}", amqp_error::explain("compete for the active manager", &error));
            }
            tokio::select! {
                () = engine.closed() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }
}

/// Consumes until the channel or the queue is gone; leads from the first message on.
async fn compete(engine: &AmqpEngine, link: &BrokerLink) -> lapin::Result<()> {
    let mut stream = link.answer("compete for the active manager", consume(link)).await?;
    tokio::select! {
        ended = hold_token(engine, link, &mut stream) => ended,
        never = publish_claims(engine) => match never {},
    }
}

async fn consume(link: &BrokerLink) -> lapin::Result<Stream> {
    let channel = link.consume.create_channel().await?;
    queues::declare_manager(&channel).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    // The stream holds the channel.
    channel.basic_consume(names::MANAGER.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
}

/// Holds the latest message and lets the one before go.
async fn hold_token(engine: &AmqpEngine, link: &BrokerLink, stream: &mut Stream) -> lapin::Result<()> {
    let mut token = None;
    while let Some(message) = stream.next().await {
        let older = token.replace(message?.acker);
        engine.leads.send_if_modified(|leads| !std::mem::replace(leads, true));
        if let Some(older) = older {
            link.answer("ack a claim", older.ack(BasicAckOptions::default())).await?;
        }
    }
    Ok(())
}

/// By the publishers' connection: a broker that is short of memory stops to read from one that publishes.
async fn publish_claims(engine: &AmqpEngine) -> Infallible {
    loop {
        let claim = OutgoingMessage {
            exchange: "".into(),
            key: names::MANAGER.into(),
            mandatory: false,
            properties: BasicProperties::default(),
            body: Bytes::new(),
        };
        let wait = match engine.publisher.publish(claim).await {
            Ok(()) => CLAIM_INTERVAL,
            Err(error) => {
                debug!(target: "mshost::bus", ?error, "the manager's queue was not reached");
                CLAIM_AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}
