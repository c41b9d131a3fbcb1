//! The deliveries in a child's hands.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mshost_bus::Delivery;
use mshost_worker::Progress;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::message::{Number, Tag};

pub(super) struct Hands {
    held: Mutex<HashMap<Tag, (Number, Delivery)>>,
    tags: AtomicU64,
    /// Something has left the child's hands.
    released: Notify,
    /// Where it is counted, where anybody looks.
    progress: Option<Arc<Progress>>,
}

impl Hands {
    pub(super) fn new(progress: Option<Arc<Progress>>) -> Self {
        Self { held: Mutex::default(), tags: AtomicU64::new(0), released: Notify::new(), progress }
    }

    /// Takes note of a delivery of a consumer.
    pub(super) fn hold(&self, consumer: Number, delivery: Delivery) -> Tag {
        let tag = self.tags.fetch_add(1, Ordering::Relaxed);
        self.held.lock().insert(tag, (consumer, delivery));
        if let Some(progress) = &self.progress {
            progress.took();
        }
        tag
    }

    /// Takes a delivery out of the child's hands, with its consumer: done, failed, or (`None`) handed back. `None` where it has
    /// been handed back already.
    pub(super) fn release(&self, tag: Tag, is_done: Option<bool>) -> Option<(Number, Delivery)> {
        let held = self.held.lock().remove(&tag)?;
        if let Some(progress) = &self.progress {
            progress.let_go(is_done);
        }
        self.released.notify_waiters();
        Some(held)
    }

    /// Waits until nothing of a consumer is in the child's hands. Cancel safe.
    pub(super) async fn until_empty(&self, consumer: Number) {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            // Before the look: what is released between the two would be missed.
            released.as_mut().enable();
            if !self.held.lock().values().any(|(by, _)| *by == consumer) {
                return;
            }
            released.await;
        }
    }

    /// Takes all of a consumer.
    pub(super) fn release_all(&self, consumer: Number) -> Vec<Delivery> {
        let held = self.held.lock().extract_if(|_, (by, _)| *by == consumer).collect::<Vec<_>>();
        if let Some(progress) = &self.progress {
            held.iter().for_each(|_| progress.let_go(None));
        }
        held.into_iter().map(|(_, (_, delivery))| delivery).collect()
    }
}
