//! A pair of connections to the broker, and how long it is waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::{Connection, ConnectionState, ErrorKind};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::amqp_error;
use crate::clock::Clock;

/// An answer that took this long is worth a word about what was asked.
const SLOW: Duration = Duration::from_secs(10);

/// Whether a link has been given up. lapin can leave an operation unanswered that begins while its connection breaks, so
/// whatever waits for the broker waits for this too.
#[derive(Debug, Clone, Default)]
pub(crate) struct LinkDown(CancellationToken);

impl LinkDown {
    /// What the operation gives, or an error once the link is down.
    pub(crate) async fn or<T>(&self, operation: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
        tokio::select! {
            biased;
            result = operation => result,
            () = self.0.cancelled() => Err(closed()),
        }
    }

    /// Returns once the link is down.
    pub(crate) async fn happened(&self) {
        self.0.cancelled().await;
    }
}

/// The two connections: a broker that pushes back on publishers must not keep workers from settling.
#[derive(Debug, Clone)]
pub(crate) struct BrokerLink {
    /// Counts the links of this bus, from 1.
    pub(crate) epoch: u64,
    pub(crate) publish: Arc<Connection>,
    pub(crate) consume: Arc<Connection>,
    pub(crate) down: LinkDown,
    policy: Arc<AnswerPolicy>,
}

/// How long a link waits for an answer, and what it does when none comes.
#[derive(Debug)]
pub(crate) struct AnswerPolicy {
    /// `bus.answer_timeout`.
    pub(crate) limit: Duration,
    /// The broker, for the log.
    pub(crate) broker: String,
    /// Told where a link is given up.
    pub(crate) trouble: Arc<Notify>,
    pub(crate) clock: Clock,
}

impl BrokerLink {
    /// A link that is up.
    pub(crate) fn new(epoch: u64, publish: Connection, consume: Connection, policy: Arc<AnswerPolicy>) -> Self {
        Self { epoch, publish: Arc::new(publish), consume: Arc::new(consume), down: LinkDown::default(), policy }
    }

    /// Whether both connections are up, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        !self.down.0.is_cancelled() && self.publish.status().connected() && self.consume.status().connected()
    }

    /// What the broker answers. Where it does not in time, the link is given up: what it has delivered by it goes to others.
    /// `what` completes "cannot …".
    pub(crate) async fn answer<T>(
        &self,
        what: &str,
        asked: impl Future<Output = lapin::Result<T>>,
    ) -> lapin::Result<T> {
        let AnswerPolicy { limit, broker, trouble, clock } = &*self.policy;
        let started = Instant::now();
        let answer = match clock.within(*limit, self.down.or(asked)).await {
            Some(answer) => answer,
            None => {
                self.give_up();
                trouble.notify_one();
                Err(closed())
            }
        };
        if let Err(error) = &answer
            && started.elapsed() >= SLOW.min(*limit)
        {
            warn!(
                target: "mshost::bus",
                "cannot {what}: no answer from {broker} within {:.0?} ({}); connecting again. If this goes on, a quorum queue may \
                 have no leader: see `rabbitmq-queues quorum_status QUEUE`",
                started.elapsed(), amqp_error::text(error)
            );
        }
        answer
    }

    /// From here on whatever waits for an answer has an error instead.
    pub(crate) fn give_up(&self) {
        self.down.0.cancel();
    }

    /// Closes both connections, unless the link goes down.
    pub(crate) async fn close(&self) {
        for connection in [&self.consume, &self.publish] {
            let _ = self.answer("close a connection", connection.close(200, "closed".into())).await;
        }
    }
}

/// The error of what is asked on a link that is down.
pub(crate) fn closed() -> lapin::Error {
    ErrorKind::InvalidConnectionState(ConnectionState::Closed).into()
}
