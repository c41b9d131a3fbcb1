//! Jobs that wait for their retry. Room is reserved for each in its queue, so there are never more than the limits allow.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::queue_group::{DelayedRetry, QueueGroup};

/// The longest delay; a longer one is cut to it. Far from where the clock overflows.
const MAX_DELAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// When a job that is delayed by `delay` from now is due.
pub(super) fn due_after(delay: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_add(delay.min(MAX_DELAY)).unwrap_or(now)
}

/// The jobs of all groups that wait for their retry, soonest first.
pub(super) struct RetryTimer {
    /// `None` once the bus is closed.
    entries: Mutex<Option<TimerEntries>>,
    /// The soonest entry has changed, or the bus is closed.
    changed: Notify,
}

#[derive(Default)]
struct TimerEntries {
    heap: BinaryHeap<TimerEntry>,
    serials: u64,
}

/// One job that waits.
pub(super) struct TimerEntry {
    due: Instant,
    /// First in, first out among equals.
    serial: u64,
    pub(super) group: Arc<QueueGroup>,
    pub(super) delayed: DelayedRetry,
}

impl RetryTimer {
    pub(super) fn new() -> Self {
        Self { entries: Mutex::new(Some(TimerEntries::default())), changed: Notify::new() }
    }

    /// Has the job wait for `delay`. Does nothing once closed: the group has dropped its jobs by then.
    pub(super) fn wait(&self, group: Arc<QueueGroup>, delayed: DelayedRetry, delay: Duration) {
        let due = Instant::now() + delay.min(MAX_DELAY);
        let mut entries = self.entries.lock();
        let Some(TimerEntries { heap, serials }) = entries.as_mut() else { return };
        *serials += 1;
        let soonest = heap.peek().is_none_or(|entry| due < entry.due);
        heap.push(TimerEntry { due, serial: *serials, group, delayed });
        drop(entries);
        if soonest {
            self.changed.notify_one();
        }
    }

    /// How many jobs wait for later.
    pub(super) fn len(&self) -> usize {
        self.entries.lock().as_ref().map_or(0, |entries| entries.heap.len())
    }

    pub(super) fn close(&self) {
        let entries = self.entries.lock().take();
        drop(entries);
        self.changed.notify_one();
    }

    /// Ends when the soonest entry has changed since [`RetryTimer::take_due`], or the bus is closed.
    pub(super) async fn changed(&self) {
        // `Notify` keeps one notification for later.
        self.changed.notified().await;
    }

    /// Those that are due, and when the next one will be. `None` once closed.
    pub(super) fn take_due(&self) -> Option<(Vec<TimerEntry>, Option<Instant>)> {
        let mut entries = self.entries.lock();
        let heap = &mut entries.as_mut()?.heap;
        let now = Instant::now();
        let mut due = Vec::new();
        while heap.peek().is_some_and(|entry| entry.due <= now) {
            due.extend(heap.pop());
        }
        Some((due, heap.peek().map(|entry| entry.due)))
    }
}

impl Ord for TimerEntry {
    /// Reversed: the heap gives its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.serial).cmp(&(self.due, self.serial))
    }
}

impl PartialOrd for TimerEntry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for TimerEntry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for TimerEntry {}
