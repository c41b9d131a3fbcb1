//! Deliveries that a child has received and not settled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mshost_bus::Delivery;
use mshost_worker::Progress;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ipc::message::{ConsumerId, DeliveryTag};

/// The unacked deliveries of one child, by tag.
pub(crate) struct UnackedDeliveries {
    deliveries: Mutex<HashMap<DeliveryTag, (ConsumerId, Delivery)>>,
    tags: AtomicU64,
    /// Notified when a delivery is removed.
    removed: Notify,
    /// The progress of the worker, where it is counted.
    progress: Option<Arc<Progress>>,
}

impl UnackedDeliveries {
    pub(crate) fn new(progress: Option<Arc<Progress>>) -> Self {
        Self { deliveries: Mutex::default(), tags: AtomicU64::new(0), removed: Notify::new(), progress }
    }

    /// Adds a delivery of a consumer.
    pub(crate) fn insert(&self, consumer: ConsumerId, delivery: Delivery) -> DeliveryTag {
        let tag = self.tags.fetch_add(1, Ordering::Relaxed);
        self.deliveries.lock().insert(tag, (consumer, delivery));
        if let Some(progress) = &self.progress {
            progress.job_taken();
        }
        tag
    }

    /// Removes a delivery, with its consumer: done, failed, or (`None`) returned. `None` where it was returned already.
    pub(crate) fn remove(&self, tag: DeliveryTag, is_done: Option<bool>) -> Option<(ConsumerId, Delivery)> {
        let delivery = self.deliveries.lock().remove(&tag)?;
        if let Some(progress) = &self.progress {
            progress.job_settled(is_done);
        }
        self.removed.notify_waiters();
        Some(delivery)
    }

    /// Waits until a consumer has no unacked delivery. Cancel safe.
    pub(crate) async fn wait_until_none(&self, consumer: ConsumerId) {
        loop {
            let removed = self.removed.notified();
            tokio::pin!(removed);
            // Before the check: a removal between the two would be missed.
            removed.as_mut().enable();
            if !self.deliveries.lock().values().any(|(by, _)| *by == consumer) {
                return;
            }
            removed.await;
        }
    }

    /// Removes all deliveries of a consumer.
    pub(crate) fn remove_all(&self, consumer: ConsumerId) -> Vec<Delivery> {
        let deliveries = self.deliveries.lock().extract_if(|_, (by, _)| *by == consumer).collect::<Vec<_>>();
        if let Some(progress) = &self.progress {
            deliveries.iter().for_each(|_| progress.job_settled(None));
        }
        deliveries.into_iter().map(|(_, (_, delivery))| delivery).collect()
    }
}
