//! Connects, watches over both connections, and connects again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use lapin::{Connection, ConnectionState, ErrorKind, Event as ConnectionEvent};
use mshost_bus::BusState;
use mshost_core::backoff::Backoff;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::errors::{self, ACCESS_REFUSED};
use super::names;
use super::{Shared, attend};

/// The first and the longest wait between two attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A connection that has lasted this long makes the next wait short again.
const STABLE: Duration = Duration::from_secs(10);
/// How long connecting may take, once the broker's port has answered or has not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the connections are looked at, where nobody has noticed earlier that one is gone: lapin says nothing.
const CHECK: Duration = Duration::from_millis(200);
/// How long senders are held back after a reconnect for the workers of this host to be back in their places.
const REJOIN: Duration = Duration::from_secs(5);

/// An answer that took this long is worth a word about what was asked.
const SLOW: Duration = Duration::from_secs(10);

/// Whether a link has been given up. lapin can leave an operation unanswered that begins while its connection breaks, so
/// whatever waits for the broker waits for this too.
#[derive(Debug, Clone, Default)]
pub(super) struct Down(CancellationToken);

impl Down {
    /// What the operation gives, or an error once the link is down.
    pub(super) async fn or<T>(&self, operation: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
        tokio::select! {
            biased;
            result = operation => result,
            () = self.0.cancelled() => Err(ErrorKind::InvalidConnectionState(ConnectionState::Closed).into()),
        }
    }
}

/// The two connections: a broker that pushes back on publishers must not keep workers from settling.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// Counts the links of this bus, from 1.
    pub(super) epoch: u64,
    pub(super) publish: Arc<Connection>,
    pub(super) consume: Arc<Connection>,
    pub(super) down: Down,
}

impl Link {
    /// Whether both connections are up, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        !self.down.0.is_cancelled() && self.publish.status().connected() && self.consume.status().connected()
    }

    /// What the broker answers. Where it does not in time, the link is given up: what it has delivered by it goes to others.
    /// `what` completes "cannot …".
    pub(super) async fn answer<T>(
        &self,
        shared: &Shared,
        what: &str,
        asked: impl Future<Output = lapin::Result<T>>,
    ) -> lapin::Result<T> {
        let (started, limit) = (Instant::now(), shared.limits.answer_timeout);
        let answer = match tokio::time::timeout(limit, self.down.or(asked)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.down.0.cancel();
                shared.trouble.notify_one();
                Err(ErrorKind::InvalidConnectionState(ConnectionState::Closed).into())
            }
        };
        if let Err(error) = &answer
            && started.elapsed() >= SLOW.min(limit)
        {
            warn!(
                target: "mshost::bus",
                "cannot {what}: no answer from {} within {:.0?} ({}); connecting again. If this goes on, a quorum queue may have \
                 no leader: see `rabbitmq-queues quorum_status QUEUE`",
                shared.endpoint, started.elapsed(), errors::text(error)
            );
        }
        answer
    }

    /// Says goodbye to the broker.
    pub(super) async fn close(&self) {
        for connection in [&self.consume, &self.publish] {
            let _ = self.down.or(connection.close(200, "closed".into())).await;
        }
    }
}

/// Keeps a link up until the bus is closed.
pub(super) async fn supervise(shared: Arc<Shared>) {
    let mut backoff = backoff();
    let mut epoch = 0;
    loop {
        let started = Instant::now();
        let connected = tokio::select! {
            () = shared.closed.cancelled() => return,
            connected = establish(&shared, epoch + 1) => connected,
        };
        let error = match connected {
            Ok(link) => {
                epoch = link.epoch;
                let error = serve(&shared, &link).await;
                let Some(error) = error else { return };
                error
            }
            Err(error) => error,
        };
        if started.elapsed() > STABLE {
            backoff.reset();
        }
        let wait = backoff.next_wait();
        warn!(target: "mshost::bus", "not connected to {}: {error}; trying again in {wait:.1?}", shared.endpoint);
        shared.metrics.bus_connected.set(0);
        shared.state.send_replace(BusState::Away { error });
        tokio::select! {
            () = shared.closed.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Connects twice and declares what everybody needs.
async fn establish(shared: &Shared, epoch: u64) -> Result<Link, String> {
    let connect = async {
        let connection = |role| shared.endpoint.connect(format!("mshost {} ({role})", shared.host));
        let publish = Arc::new(connection("publish").await?);
        let consume = Arc::new(connection("consume").await?);
        Ok(Link { epoch, publish, consume, down: Down::default() })
    };
    let link: Link = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Err(_) => return Err(format!("it did not answer within {CONNECT_TIMEOUT:?}")),
        Ok(Err(error)) => return Err(refusal(shared, &error)),
        Ok(Ok(link)) => link,
    };
    let declare = async {
        let channel = link.publish.create_channel().await?;
        names::declare_exchanges(&channel).await?;
        attend::declare_all(shared, &link).await
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, declare).await {
        Err(_) => Err(format!("it did not declare the exchanges within {CONNECT_TIMEOUT:?}")),
        Ok(Err(error)) => Err(errors::explain("declare the exchanges", &error).to_string()),
        Ok(Ok(())) => Ok(link),
    }
}

/// Why a connection was refused, in words that say what to do.
fn refusal(shared: &Shared, error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(_) if errors::code(error) == Some(ACCESS_REFUSED) => {
            let (who, check) = shared.endpoint.login();
            format!(
                "it refuses the login of {who}; check {check} \
                 (RabbitMQ's `guest` may only log in from its own machine)"
            )
        }
        _ => shared.endpoint.explain(error).unwrap_or_else(|| errors::text(error)),
    }
}

/// Announces a link to everybody and returns why it was lost; `None` once the bus is closed.
async fn serve(shared: &Arc<Shared>, link: &Link) -> Option<String> {
    let mut lost = std::pin::pin!(watch_over(shared, link));
    shared.link.send_replace(Some(link.clone()));
    let error = tokio::select! {
        () = shared.closed.cancelled() => None,
        error = &mut lost => Some(error),
        _ = tokio::time::timeout(REJOIN, shared.members.all_at(link.epoch)) => {
            shared.ready.send_replace(Some(link.clone()));
            shared.metrics.bus_connected.set(1);
            if link.epoch > 1 {
                shared.metrics.bus_reconnects.inc();
            }
            shared.state.send_replace(BusState::Connected);
            info!(target: "mshost::bus", "connected to {}", shared.endpoint);
            tokio::select! {
                () = shared.closed.cancelled() => None,
                error = lost => Some(error),
            }
        }
    };
    // On closing, the last settlements and confirms still need the link.
    error.as_ref()?;
    shared.ready.send_replace(None);
    shared.link.send_replace(None);
    link.down.0.cancel();
    let link = link.clone();
    // Where it was given up, the broker still holds what it delivered by it.
    shared.runtime.spawn(async move {
        for connection in [&link.consume, &link.publish] {
            let _ = tokio::time::timeout(CONNECT_TIMEOUT, connection.close(200, "given up".into())).await;
        }
    });
    error
}

/// Returns when one of the connections is gone. Meanwhile tells publishers when the broker wants them to wait.
async fn watch_over(shared: &Shared, link: &Link) -> String {
    let mut events = link.publish.events_listener();
    let mut last_error = None;
    shared.block(false);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(ConnectionEvent::ConnectionBlocked(reason)) => {
                    warn!(target: "mshost::bus", "{} takes no messages for now ({reason}); senders wait", shared.endpoint);
                    shared.block(true);
                }
                Some(ConnectionEvent::ConnectionUnblocked) => {
                    info!(target: "mshost::bus", "{} takes messages again", shared.endpoint);
                    shared.block(false);
                }
                Some(ConnectionEvent::Error(error)) => last_error = Some(errors::text(&error)),
                Some(_) => {}
                None => tokio::time::sleep(CHECK).await,
            },
            () = shared.trouble.notified() => {}
            () = tokio::time::sleep(CHECK) => {}
        }
        if !link.is_up() {
            shared.block(false);
            return last_error.unwrap_or_else(|| "the connection was lost".into());
        }
    }
}

/// Waits for a link newer than `epoch`; `None` once the bus is closed.
pub(super) async fn next_link(links: &mut watch::Receiver<Option<Link>>, shared: &Shared, epoch: u64) -> Option<Link> {
    tokio::select! {
        biased;
        () = shared.closed.cancelled() => None,
        link = links.wait_for(|link| link.as_ref().is_some_and(|link| link.epoch > epoch)) => link.ok()?.clone(),
    }
}

/// Shortened by up to half, so that hosts do not come back all at once.
pub(super) fn backoff() -> Backoff {
    Backoff::new(BACKOFF.0, BACKOFF.1, 0.5)
}
