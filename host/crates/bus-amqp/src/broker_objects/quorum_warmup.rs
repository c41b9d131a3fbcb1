//! Waits until a new quorum queue outlives the death of its broker.
//!
//! RabbitMQ says that a quorum queue is declared before it has written down which data of the node are that queue's: it
//! does so once nothing was declared for half a second (seen on 3.10.8; `auto_save` of Ra's `names.dets`). A node that is
//! killed before that finds the queue again, but not what was in it, and where the node is the only member the queue never
//! has a leader again: a consumer of it waits for a minute and loses the connection. So jobs may come to a queue
//! only after that.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long after the last queue was made all are written down. The broker looks every half second whether one came since
/// it last looked.
const QUIET: Duration = Duration::from_millis(1500);
/// How long after a queue was made it is written down, however many others are made meanwhile.
const LONGEST: Duration = Duration::from_secs(4);

/// When this host last made one.
#[derive(Default)]
pub(crate) struct QuorumWarmup(Mutex<Option<Instant>>);

impl QuorumWarmup {
    /// One was made just now.
    pub(crate) fn note_declared(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Returns once all that were made before the call outlive the broker's death.
    pub(crate) async fn until_written(&self) {
        let latest = Instant::now() + LONGEST;
        loop {
            let last = *self.0.lock();
            let due = last.map(|last| (last + QUIET).min(latest));
            match due.filter(|due| *due > Instant::now()) {
                Some(due) => tokio::time::sleep_until(due).await,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn queues_made_meanwhile_delay_it_only_so_long() {
        let warmup = QuorumWarmup::default();
        let start = Instant::now();
        warmup.until_written().await;
        assert_eq!(start.elapsed(), Duration::ZERO, "nothing was made");
        warmup.note_declared();
        warmup.until_written().await;
        assert_eq!(start.elapsed(), QUIET);
        warmup.until_written().await;
        assert_eq!(start.elapsed(), QUIET, "it was made long ago");
        warmup.note_declared();
        let again = async {
            loop {
                tokio::time::sleep(QUIET / 2).await;
                warmup.note_declared();
            }
        };
        tokio::select! {
            () = warmup.until_written() => assert_eq!(start.elapsed(), QUIET + LONGEST),
            () = again => {}
        }
    }
}
