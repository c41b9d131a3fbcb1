//! Which host's manager acts for all of them: the one whose consumer the broker has chosen.
//!
//! All that compete consume from one queue, of which the broker serves a single consumer at a time, and the next one when
//! that is gone. A consumer is not told that it is the chosen one but by a message, so everybody knocks: puts one there,
//! which tells whoever gets it that it leads. The latest stays unacked, as a token that the broker hands on, with the
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

use super::connection::{Link, backoff, next_link};
use super::publisher::Outgoing;
use super::{Shared, errors, names};

/// How many knocks come at once. More than the one that is held, or no newer one could take its place.
const PREFETCH: u16 = 16;
/// How often everybody knocks. The token is then a new one long before the broker closes the channel for a message that is
/// unacked for too long (30 minutes by default); and whatever was lost, by a purge say, is made good.
const KNOCK: Duration = Duration::from_secs(60);
/// Wait before another knock, where one may not have been heard.
const KNOCK_AGAIN: Duration = Duration::from_secs(1);

/// Competes until the bus is closed.
pub(super) async fn compete(shared: Arc<Shared>) {
    let mut links = shared.link.subscribe();
    let mut epoch = 0;
    while let Some(link) = next_link(&mut links, &shared, epoch).await {
        epoch = link.epoch;
        let mut backoff = backoff();
        while link.is_up() {
            let ended = tokio::select! {
                () = shared.closed.cancelled() => Ok(()),
                ended = link.down.or(stand(&shared, &link)) => ended,
            };
            // Another may have been chosen by now.
            shared.leads.send_if_modified(std::mem::take);
            if ended.is_ok() {
                backoff.reset();
            }
            if let Err(error) = ended
                && link.is_up()
            {
                warn!(target: "mshost::bus", "{}", errors::explain("compete for the active manager", &error));
            }
            tokio::select! {
                () = shared.closed.cancelled() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }
}

/// Consumes until the channel or the queue is gone; leads from the first message on.
async fn stand(shared: &Shared, link: &Link) -> lapin::Result<()> {
    let mut stream = consume(link).await?;
    tokio::select! {
        ended = hold(shared, &mut stream) => ended,
        never = knock(shared) => match never {},
    }
}

async fn consume(link: &Link) -> lapin::Result<Stream> {
    let channel = link.consume.create_channel().await?;
    names::declare_manager(&channel).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    // The stream holds the channel.
    channel.basic_consume(names::MANAGER.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
}

/// Holds the latest message and lets the one before go.
async fn hold(shared: &Shared, stream: &mut Stream) -> lapin::Result<()> {
    let mut token = None;
    while let Some(message) = stream.next().await {
        let older = token.replace(message?.acker);
        shared.leads.send_if_modified(|leads| !std::mem::replace(leads, true));
        if let Some(older) = older {
            older.ack(BasicAckOptions::default()).await?;
        }
    }
    Ok(())
}

/// By the publishers' connection: a broker that is short of memory stops to read from one that publishes.
async fn knock(shared: &Shared) -> Infallible {
    loop {
        let knock = Outgoing {
            exchange: "".into(),
            key: names::MANAGER.into(),
            mandatory: false,
            properties: BasicProperties::default(),
            body: Bytes::new(),
        };
        let wait = match shared.publish(knock).await {
            Ok(()) => KNOCK,
            Err(error) => {
                debug!(target: "mshost::bus", ?error, "the manager's queue was not reached");
                KNOCK_AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}
