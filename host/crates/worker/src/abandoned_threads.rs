//! Threads of a slot's blocking handlers that were abandoned: their calls overran and have not returned.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// The threads that the workers of a slot have abandoned; watched by the slot's controller. Cloning shares them.
///
/// One counts from when its call has taken longer than it may. A worker that drains, or that failed, gives its unfinished
/// jobs back and abandons their threads, too, but those may be about to end.
#[derive(Debug, Clone, Default)]
pub struct AbandonedThreads(Arc<watch::Sender<Vec<Instant>>>);

impl AbandonedThreads {
    /// How many have overrun by now.
    #[must_use]
    pub fn count(&self) -> u32 {
        let now = Instant::now();
        let count = self.0.borrow().partition_point(|due| *due <= now);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Whether no thread is abandoned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Returns once as many as `limit` have overrun. Cancel safe.
    pub async fn reached(&self, limit: u32) {
        let mut abandoned = self.0.subscribe();
        loop {
            let last = abandoned.borrow_and_update().get(limit.saturating_sub(1) as usize).copied();
            let overrun = async {
                match last {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = overrun => return,
                // The sender is this.
                _ = abandoned.changed() => {}
            }
        }
    }

    /// One more thread is abandoned, whose call should end at `due`.
    pub(super) fn add(&self, due: Instant) {
        self.0.send_modify(|dues| dues.insert(dues.partition_point(|other| *other <= due), due));
    }

    /// The call of one of them has returned.
    pub(super) fn remove(&self, due: Instant) {
        self.0.send_modify(|dues| {
            if let Ok(index) = dues.binary_search(&due) {
                dues.remove(index);
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
        let abandoned_threads = AbandonedThreads::default();
        let now = Instant::now();
        for due in [now + LATER, now, now + LATER] {
            abandoned_threads.add(due);
        }
        assert_eq!(abandoned_threads.count(), 1);
        abandoned_threads.reached(1).await;
        let second = abandoned_threads.reached(2);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        abandoned_threads.add(now);
        second.await;
        for due in [now, now + LATER, now, now + LATER] {
            assert!(!abandoned_threads.is_empty());
            abandoned_threads.remove(due);
        }
        assert!(abandoned_threads.is_empty());
    }
}
