//! Quorum queues that have just been made.
//!
//! RabbitMQ says that a quorum queue is declared before it has written down which data of the node are that queue's: it
//! does so once nothing was declared for half a second (seen on 3.10.8; `auto_save` of Ra's `names.dets`). A node that is
//! killed before that finds the queue again, but not what was in it, and where the node is the only member the queue never
//! has a leader again: whoever consumes from it waits for a minute and loses the connection. So jobs may come to a queue
//! only after that.

use std::time::Duration;

use lapin::Connection;
use lapin::types::ShortString;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::leave;

/// How long after the last queue was made all are written down. The broker looks every half second whether one came since
/// it last looked.
const QUIET: Duration = Duration::from_millis(1500);
/// How long after a queue was made it is written down, however many others are made meanwhile.
const LONGEST: Duration = Duration::from_secs(4);

/// When this host last made one.
#[derive(Default)]
pub(super) struct Made(Mutex<Option<Instant>>);

impl Made {
    /// One was made just now.
    pub(super) fn note(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Returns once all that were made before the call outlive the broker's death.
    pub(super) async fn kept(&self) {
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

/// Whether a queue is there. Asks on a channel of its own, since the broker closes it where there is none.
pub(super) async fn is_there(connection: &Connection, queue: ShortString) -> lapin::Result<bool> {
    Ok(leave::look(&connection.create_channel().await?, queue).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn queues_made_meanwhile_delay_it_only_so_long() {
        let made = Made::default();
        let start = Instant::now();
        made.kept().await;
        assert_eq!(start.elapsed(), Duration::ZERO, "nothing was made");
        made.note();
        made.kept().await;
        assert_eq!(start.elapsed(), QUIET);
        made.kept().await;
        assert_eq!(start.elapsed(), QUIET, "it was made long ago");
        made.note();
        let again = async {
            loop {
                tokio::time::sleep(QUIET / 2).await;
                made.note();
            }
        };
        tokio::select! {
            () = made.kept() => assert_eq!(start.elapsed(), QUIET + LONGEST),
            () = again => {}
        }
    }
}
