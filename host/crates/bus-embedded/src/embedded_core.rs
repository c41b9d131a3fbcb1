//! The state of the bus that its consumers, its senders and its tasks share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashMap;
use mshost_bus::{Absent, BusLimits, BusState, Codec};
use mshost_core::ids::WorkerType;
use mshost_core::metrics::Metrics;
use tokio::sync::watch;

use super::dead_letters::{DeadLetterList, DeadLettering};
use super::group_state::QueueRules;
use super::journal::Journal;
use super::leadership::SoleHost;
use super::notifier::Notifier;
use super::queue_group::QueueGroup;
use super::retry_timer::RetryTimer;

/// The queue groups and all that they share.
pub(super) struct EmbeddedCore {
    pub(super) codec: Codec,
    pub(super) limits: BusLimits,
    pub(super) rules: QueueRules,
    /// One for each type that has workers, or jobs that wait for some.
    pub(super) groups: DashMap<WorkerType, Arc<QueueGroup>>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) retry_timer: Arc<RetryTimer>,
    pub(super) dead_lettering: Arc<DeadLettering>,
    pub(super) journal: Option<Arc<Journal>>,
    /// One requeue at a time: two of one dead letter would send its job twice.
    pub(super) requeuing: tokio::sync::Mutex<()>,
    pub(super) leadership: SoleHost,
    pub(super) state: watch::Sender<BusState>,
    pub(super) closed: AtomicBool,
}

impl EmbeddedCore {
    /// A bus that has no tasks yet.
    pub(super) fn new(
        codec: Codec,
        limits: BusLimits,
        absent: Absent,
        metrics: Option<Arc<Metrics>>,
        journal: Option<Arc<Journal>>,
    ) -> Self {
        let notifier = Arc::new(Notifier::new(limits.notifications));
        let dead_lettering = Arc::new(DeadLettering {
            notifier: Arc::clone(&notifier),
            letters: DeadLetterList::new(limits.dead_letters, journal.clone()),
            journal: journal.clone(),
            metrics,
            deliveries: limits.deliveries,
        });
        Self {
            codec,
            rules: QueueRules { queue: limits.queue, deliveries: limits.deliveries, absent },
            limits,
            groups: DashMap::new(),
            notifier,
            retry_timer: Arc::new(RetryTimer::new()),
            dead_lettering,
            journal,
            requeuing: tokio::sync::Mutex::default(),
            leadership: SoleHost::default(),
            state: watch::Sender::new(BusState::Connected),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn group(&self, kind: &str) -> Option<Arc<QueueGroup>> {
        self.groups.get(kind).map(|group| Arc::clone(&group))
    }

    pub(super) fn group_or_new(&self, kind: &WorkerType) -> Arc<QueueGroup> {
        let new = || Arc::new(QueueGroup::new(kind.clone(), self.rules, Arc::clone(&self.dead_lettering)));
        Arc::clone(&self.groups.entry(kind.clone()).or_insert_with(new))
    }

    /// Removes a group that has neither jobs nor consumers, so that types which come and go leave nothing behind.
    pub(super) fn retire(&self, group: &Arc<QueueGroup>) {
        if group.retire() {
            self.groups.remove_if(group.kind(), |_, current| Arc::ptr_eq(current, group));
        }
    }

    pub(super) fn close(&self) {
        // From here on `join` makes no new group that stays open: it looks at `closed` again once it holds the group's lock.
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.retry_timer.close();
        let groups: Vec<_> = self.groups.iter().map(|entry| Arc::clone(entry.value())).collect();
        for group in groups {
            group.close();
        }
        self.notifier.close();
        if let Some(journal) = &self.journal {
            journal.close();
        }
        self.state.send_replace(BusState::Closed);
    }
}
