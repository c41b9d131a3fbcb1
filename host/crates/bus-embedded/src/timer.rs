//! Jobs that wait for their next attempt. Each keeps a place in its queue, so there are never more than the limits allow.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Core;
use super::pool::{Delayed, Pool};

/// The longest delay; a longer one is cut to it. Far from where the clock overflows.
const MAX_DELAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// When a job that is delayed by `delay` from now is due.
pub(super) fn due(delay: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_add(delay.min(MAX_DELAY)).unwrap_or(now)
}

/// The delayed jobs of all pools, soonest first.
pub(super) struct Timer {
    /// `None` once the bus is closed.
    entries: Mutex<Option<Entries>>,
    /// The soonest entry has changed, or the bus is closed.
    changed: Notify,
}

#[derive(Default)]
struct Entries {
    heap: BinaryHeap<Entry>,
    serials: u64,
}

struct Entry {
    due: Instant,
    /// First in, first out among equals.
    serial: u64,
    pool: Arc<Pool>,
    delayed: Delayed,
}

impl Timer {
    pub(super) fn new() -> Self {
        Self { entries: Mutex::new(Some(Entries::default())), changed: Notify::new() }
    }

    /// Gives the job back to its pool after `delay`. Does nothing once closed: the pool has forgotten its jobs by then.
    pub(super) fn wait(&self, pool: Arc<Pool>, delayed: Delayed, delay: Duration) {
        let due = Instant::now() + delay.min(MAX_DELAY);
        let mut entries = self.entries.lock();
        let Some(Entries { heap, serials }) = entries.as_mut() else { return };
        *serials += 1;
        let soonest = heap.peek().is_none_or(|entry| due < entry.due);
        heap.push(Entry { due, serial: *serials, pool, delayed });
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

    /// Those that are due, and when the next one will be. `None` once closed.
    fn take_due(&self) -> Option<(Vec<Entry>, Option<Instant>)> {
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

/// Gives jobs back when they are due. Ends when the bus is closed.
pub(super) async fn run(timer: Arc<Timer>, core: Weak<Core>) {
    while let Some((due, next)) = timer.take_due() {
        for Entry { pool, delayed, .. } in due {
            pool.due(delayed);
            if let Some(core) = core.upgrade() {
                core.retire(&pool);
            }
        }
        // `Notify` keeps one notification for later, so a change since `take_due` ends this wait at once.
        let changed = timer.changed.notified();
        match next {
            Some(next) => drop(tokio::time::timeout_at(next, changed).await),
            None => changed.await,
        }
    }
}

impl Ord for Entry {
    /// Reversed: the heap gives its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.serial).cmp(&(self.due, self.serial))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
