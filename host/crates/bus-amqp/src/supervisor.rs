//! Connects, watches over both connections, and connects again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use lapin::{ErrorKind, Event as ConnectionEvent};
use mshost_bus::BusState;
use tracing::{info, warn};

use super::amqp_error::{self, ACCESS_REFUSED};
use super::broker_objects::queues;
use super::engine::AmqpEngine;
use super::link::connection::{AnswerPolicy, BrokerLink};
use super::link::connectivity::backoff;

/// A connection that has lasted this long makes the next wait short again.
const STABLE: Duration = Duration::from_secs(10);
/// How long connecting may take, once the broker's port has answered or has not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the connections are looked at, where no task has noticed earlier that one is gone: lapin says nothing.
const CHECK: Duration = Duration::from_millis(200);
/// How long senders are held back after a reconnect for the workers of this host to consume again.
const REJOIN: Duration = Duration::from_secs(5);

/// Keeps a link up until the bus is closed.
pub(super) async fn run(engine: Arc<AmqpEngine>) {
    let mut backoff = backoff();
    let mut epoch = 0;
    loop {
        let started = Instant::now();
        let connected = tokio::select! {
            () = engine.closed() => return,
            connected = establish(&engine, epoch + 1) => connected,
        };
        let error = match connected {
            Ok(link) => {
                epoch = link.epoch;
                let error = serve(&engine, &link).await;
                let Some(error) = error else { return };
                error
            }
            Err(error) => error,
        };
        if started.elapsed() > STABLE {
            backoff.reset();
        }
        let wait = backoff.next_wait();
        warn!(target: "mshost::bus", "not connected to {}: {error}; trying again in {wait:.1?}", engine.connectivity.address);
        engine.tell_state(BusState::Away { error });
        tokio::select! {
            () = engine.closed() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Connects twice, and declares the exchanges and the queues that hosts share.
async fn establish(engine: &AmqpEngine, epoch: u64) -> Result<BrokerLink, String> {
    let connect = async {
        let connection = |role| engine.connectivity.address.connect(format!("mshost {} ({role})", engine.host));
        let (publish, consume) = (connection("publish").await?, connection("consume").await?);
        let policy = Arc::new(AnswerPolicy {
            limit: engine.limits.answer_timeout,
            broker: engine.connectivity.address.to_string(),
            trouble: Arc::clone(&engine.connectivity.trouble),
            clock: engine.clock.clone(),
        });
        Ok(BrokerLink::new(epoch, publish, consume, policy))
    };
    let link: BrokerLink = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Err(_) => return Err(format!("it did not answer within {CONNECT_TIMEOUT:?}")),
        Ok(Err(error)) => return Err(refusal(engine, &error)),
        Ok(Ok(link)) => link,
    };
    let declare = async {
        let channel = link.publish.create_channel().await?;
        queues::declare_exchanges(&channel).await?;
        engine.shared_queues.declare_all(&link).await
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, declare).await {
        Err(_) => Err(format!("it did not declare the exchanges within {CONNECT_TIMEOUT:?}")),
        Ok(Err(error)) => Err(amqp_error::explain("declare the exchanges", &error).to_string()),
        Ok(Ok(())) => Ok(link),
    }
}

/// Why a connection was refused, in words that say what to do.
fn refusal(engine: &AmqpEngine, error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(_) if amqp_error::code(error) == Some(ACCESS_REFUSED) => {
            let (who, check) = engine.connectivity.address.login();
            format!(
                "it refuses the login of {who}; check {check} \
                 (RabbitMQ's `guest` may only log in from its own machine)"
            )
        }
        _ => engine.connectivity.address.explain(error).unwrap_or_else(|| amqp_error::text(error)),
    }
}

/// Announces a link to all tasks and returns why it was lost; `None` once the bus is closed.
async fn serve(engine: &Arc<AmqpEngine>, link: &BrokerLink) -> Option<String> {
    let mut lost = std::pin::pin!(watch_over(engine, link));
    engine.connectivity.link.send_replace(Some(link.clone()));
    let error = tokio::select! {
        () = engine.closed() => None,
        error = &mut lost => Some(error),
        _ = tokio::time::timeout(REJOIN, engine.rejoining.all_at(link.epoch)) => {
            engine.connectivity.ready.send_replace(Some(link.clone()));
            if link.epoch > 1 {
                engine.metrics.bus_reconnects.inc();
            }
            engine.tell_state(BusState::Connected);
            info!(target: "mshost::bus", "connected to {}", engine.connectivity.address);
            tokio::select! {
                () = engine.closed() => None,
                error = lost => Some(error),
            }
        }
    };
    // On closing, the last settlements and confirms still need the link.
    error.as_ref()?;
    engine.connectivity.ready.send_replace(None);
    engine.connectivity.link.send_replace(None);
    link.give_up();
    let link = link.clone();
    // Where it was given up, the broker still holds what it delivered by it.
    engine.runtime.spawn(async move {
        for connection in [&link.consume, &link.publish] {
            let _ = tokio::time::timeout(CONNECT_TIMEOUT, connection.close(200, "given up".into())).await;
        }
    });
    error
}

/// Returns when one of the connections is gone. Meanwhile tells publishers when the broker wants them to wait.
async fn watch_over(engine: &AmqpEngine, link: &BrokerLink) -> String {
    let mut events = link.publish.events_listener();
    let mut last_error = None;
    engine.tell_blocked(false);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(ConnectionEvent::ConnectionBlocked(reason)) => {
                    warn!(target: "mshost::bus", "{} takes no messages for now ({reason}); senders wait", engine.connectivity.address);
                    engine.tell_blocked(true);
                }
                Some(ConnectionEvent::ConnectionUnblocked) => {
                    info!(target: "mshost::bus", "{} takes messages again", engine.connectivity.address);
                    engine.tell_blocked(false);
                }
                Some(ConnectionEvent::Error(error)) => last_error = Some(amqp_error::text(&error)),
                Some(_) => {}
                None => tokio::time::sleep(CHECK).await,
            },
            () = engine.connectivity.trouble.notified() => {}
            () = tokio::time::sleep(CHECK) => {}
        }
        if !link.is_up() {
            engine.tell_blocked(false);
            return last_error.unwrap_or_else(|| "the connection was lost".into());
        }
    }
}
