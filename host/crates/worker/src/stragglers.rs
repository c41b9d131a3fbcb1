//! Threads of a slot's blocking handlers that overran and have not come back.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// The threads that were left behind: noted by the workers of a slot, watched by its controller. Cloning shares them.
///
/// One counts from when its call has taken longer than it may. A worker that drains, or that failed, gives its unfinished
/// jobs back and leaves their threads behind, too, but those may be about to end.
#[derive(Debug, Clone, Default)]
pub struct Stragglers(Arc<watch::Sender<Vec<Instant>>>);

impl Stragglers {
    /// How many have overrun by now.
    #[must_use]
    pub fn count(&self) -> u32 {
        let now = Instant::now();
        let count = self.0.borrow().partition_point(|due| *due <= now);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Whether no thread is left behind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Returns once as many as `limit` have overrun. Cancel safe.
    pub async fn reached(&self, limit: u32) {
        let mut left = self.0.subscribe();
        loop {
            let last = left.borrow_and_update().get(limit.saturating_sub(1) as usize).copied();
            let overrun = async {
                match last {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = overrun => return,
                // The sender is this.
                _ = left.changed() => {}
            }
        }
    }

    /// One more thread was left behind, whose call should end at `due`.
    pub(super) fn left(&self, due: Instant) {
        self.0.send_modify(|left| left.insert(left.partition_point(|other| *other <= due), due));
    }

    /// One of them has come back.
    pub(super) fn returned(&self, due: Instant) {
        self.0.send_modify(|left| {
            if let Ok(place) = left.binary_search(&due) {
                left.remove(place);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LATER: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn a_thread_counts_from_when_its_call_should_have_ended() {
        let stragglers = Stragglers::default();
        let now = Instant::now();
        for due in [now + LATER, now, now + LATER] {
            stragglers.left(due);
        }
        assert_eq!(stragglers.count(), 1);
        stragglers.reached(1).await;
        let second = stragglers.reached(2);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        stragglers.left(now);
        second.await;
        for due in [now, now + LATER, now, now + LATER] {
            assert!(!stragglers.is_empty());
            stragglers.returned(due);
        }
        assert!(stragglers.is_empty());
    }
}
