//! How a delivery is settled.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mshost_bus::{BusError, DeadLetter, Death, Job, Settle};

use super::consumer_state::ConsumerKey;
use super::embedded_core::EmbeddedCore;
use super::journal::{JournalChange, RecordId};
use super::queue_group::QueueGroup;
use super::retry_timer::due_after;

/// How long a job waits that has failed for good and that the full list of dead letters cannot take.
const DEAD_LETTER_AGAIN: Duration = Duration::from_secs(1);

/// A consumer's key, shared by it and its deliveries. The state in the group goes with the consumer.
pub(super) struct ConsumerHandle {
    pub(super) core: Arc<EmbeddedCore>,
    pub(super) group: Arc<QueueGroup>,
    pub(super) key: ConsumerKey,
}

/// Settles one delivery, once.
pub(super) struct EmbeddedSettle {
    handle: Arc<ConsumerHandle>,
    record: Option<RecordId>,
    /// `None` once settled.
    tag: Option<usize>,
}

impl EmbeddedSettle {
    pub(super) fn new(handle: Arc<ConsumerHandle>, record: Option<RecordId>, tag: usize) -> Self {
        Self { handle, record, tag: Some(tag) }
    }

    /// Tells the journal, where there is one.
    async fn write(&self, change: impl FnOnce(RecordId) -> JournalChange) {
        if let (Some(journal), Some(record)) = (&self.handle.core.journal, self.record) {
            journal.append_bounded(change(record)).await;
        }
    }
}

#[async_trait]
impl Settle for EmbeddedSettle {
    async fn ack(mut self: Box<Self>) -> Result<(), BusError> {
        let Some(tag) = self.tag.take() else { return Ok(()) };
        self.handle.group.ack(self.handle.key, tag)?;
        self.write(JournalChange::Remove).await;
        Ok(())
    }

    async fn retry(mut self: Box<Self>, job: Job, after: Duration) -> Result<(), BusError> {
        let Some(tag) = self.tag.take() else { return Ok(()) };
        let ConsumerHandle { core, group, key } = &*self.handle;
        if let Some(delayed) = group.retry(*key, tag, job.attempt, after)? {
            core.retry_timer.wait(Arc::clone(group), delayed, after);
        }
        let due = due_after(after);
        self.write(|record| JournalChange::Retry { record, attempt: job.attempt, due }).await;
        Ok(())
    }

    async fn dead_letter(mut self: Box<Self>, job: Job, death: Death) -> Result<(), BusError> {
        let Some(tag) = self.tag.take() else { return Ok(()) };
        let ConsumerHandle { core, group, key } = &*self.handle;
        let attempt = job.attempt;
        let letter = DeadLetter { id: job.id.to_string(), job: Some(job), raw: None, death };
        if let Err(full) = core.dead_lettering.letters.keep(letter, self.record) {
            // Not at once: nothing has changed that would make it end otherwise.
            if let Some(delayed) = group.retry(*key, tag, attempt, DEAD_LETTER_AGAIN)? {
                core.retry_timer.wait(Arc::clone(group), delayed, DEAD_LETTER_AGAIN);
            }
            return Err(full);
        }
        group.ack(*key, tag)
    }

    async fn requeue(mut self: Box<Self>) -> Result<(), BusError> {
        match self.tag.take() {
            Some(tag) => self.handle.group.requeue(self.handle.key, tag, true),
            None => Ok(()),
        }
    }

    async fn release(mut self: Box<Self>, _job: Job) -> Result<(), BusError> {
        match self.tag.take() {
            Some(tag) => self.handle.group.requeue(self.handle.key, tag, false),
            None => Ok(()),
        }
    }
}

impl Drop for EmbeddedSettle {
    fn drop(&mut self) {
        if let Some(tag) = self.tag.take() {
            // Where the consumer has gone, it has requeued the job itself.
            let _ = self.handle.group.requeue(self.handle.key, tag, true);
        }
    }
}

impl fmt::Debug for EmbeddedSettle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedSettle").field("group", &self.handle.group).field("tag", &self.tag).finish()
    }
}
