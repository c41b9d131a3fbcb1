//! Messages under way on a bus, each followed by the next when it has come to its end: how many a second, and how long one
//! takes.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long one step may take, such as a message's.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a lap can fail with.
pub type ThroughputError = Box<dyn Error + Send + Sync>;

/// Who waits for which message to come to its end.
#[derive(Debug, Clone, Default)]
pub struct PendingMessages(Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>);

impl PendingMessages {
    /// A message has come to its end. One that nobody waits for, as it came twice, is no matter.
    pub fn reached(&self, id: &str) {
        if let Some(waiting) = self.0.lock().remove(id) {
            let _ = waiting.send(());
        }
    }

    fn expect(&self, id: &str) -> oneshot::Receiver<()> {
        let (reached, end) = oneshot::channel();
        self.0.lock().insert(id.to_owned(), reached);
        end
    }
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Throughput {
    /// Messages a second.
    pub rate: f64,
    /// From the call that sends one until both it has returned and the message is at its end, in microseconds.
    pub micros: Histogram<u64>,
}

impl Throughput {
    /// The rate, the median and the 99th percentile.
    #[must_use]
    pub fn figures(&self) -> [f64; 3] {
        let quantile = |at| self.micros.value_at_quantile(at) as f64;
        [self.rate, quantile(0.5), quantile(0.99)]
    }
}

/// Awaits what must come.
///
/// # Errors
/// Those of the future, and where it takes too long.
pub async fn within<T, E: Into<ThroughputError>>(
    what: &str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, ThroughputError> {
    let late = |_| ThroughputError::from(format!("{what}: not within {PATIENCE:?}"));
    timeout(PATIENCE, future).await.map_err(late)?.map_err(Into::into)
}

/// Keeps `in_flight` messages under way for a while. `send` is given the id of a message, which no other has, and returns when
/// the message is accepted.
///
/// # Errors
/// Those of `send`, and where a message does not come to its end.
pub async fn run<F>(
    in_flight: usize,
    duration: Duration,
    ends: &PendingMessages,
    send: impl Fn(String) -> F + Clone + Send + 'static,
) -> Result<Throughput, ThroughputError>
where
    F: Future<Output = Result<(), ThroughputError>> + Send,
{
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for sender in 0..in_flight {
        let (send, ends) = (send.clone(), ends.clone());
        senders.spawn(async move {
            let mut times = Vec::new();
            while started.elapsed() < duration {
                let began = Instant::now();
                let id = format!("{sender}-{}", times.len());
                let end = ends.expect(&id);
                within("the confirm of a message", send(id)).await?;
                within("a message's way to its end", end).await?;
                times.push(began.elapsed());
            }
            Ok::<_, ThroughputError>(times)
        });
    }
    let mut micros = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    while let Some(times) = senders.join_next().await {
        for time in times?? {
            micros.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
    }
    Ok(Throughput { rate: micros.len() as f64 / started.elapsed().as_secs_f64(), micros })
}
