//! The deliveries in a child's hands.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::bus::Delivery;
use crate::isolation::message::{Number, Tag};

#[derive(Default)]
pub(super) struct Hands {
    held: Mutex<HashMap<Tag, (Number, Delivery)>>,
    tags: AtomicU64,
}

impl Hands {
    /// Takes note of a delivery of a consumer.
    pub(super) fn hold(&self, consumer: Number, delivery: Delivery) -> Tag {
        let tag = self.tags.fetch_add(1, Ordering::Relaxed);
        self.held.lock().insert(tag, (consumer, delivery));
        tag
    }

    /// Takes a delivery out of the child's hands, with its consumer. `None` where it has been handed back already.
    pub(super) fn release(&self, tag: Tag) -> Option<(Number, Delivery)> {
        self.held.lock().remove(&tag)
    }

    /// Takes all of a consumer.
    pub(super) fn release_all(&self, consumer: Number) -> Vec<Delivery> {
        let held = self.held.lock().extract_if(|_, (by, _)| *by == consumer).collect::<Vec<_>>();
        held.into_iter().map(|(_, (_, delivery))| delivery).collect()
    }
}
