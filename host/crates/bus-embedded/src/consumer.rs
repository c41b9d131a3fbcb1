//! A worker's consumer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use mshost_bus::{BusError, Consumer, ConsumerOptions, Delivery, Job};
use mshost_core::ids::WorkerRef;

use super::consumer_state::Outgoing;
use super::embedded_core::EmbeddedCore;
use super::journal::JournalChange;
use super::queue_group::JoinResult;
use super::settlement::{ConsumerHandle, EmbeddedSettle};

/// A worker's consumer. Dropping it requeues what it has not settled.
pub(super) struct EmbeddedConsumer {
    handle: Arc<ConsumerHandle>,
    counted: Option<CountedDelivery>,
}

/// A delivery that goes out once the journal knows that it does.
struct CountedDelivery {
    delivery: Delivery,
    committed: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl EmbeddedConsumer {
    pub(super) fn join(
        core: &Arc<EmbeddedCore>,
        worker: &WorkerRef,
        options: ConsumerOptions,
    ) -> Result<Self, BusError> {
        let refuse = |reason: String| BusError::Refused { what: format!("joining as {}", worker.id), reason };
        if options.prefetch == 0 {
            return Err(refuse("a prefetch of 0 takes no jobs; it must be 1 or more".to_owned()));
        }
        if worker.id.worker_type() != worker.worker_type {
            return Err(refuse(format!("its id is not one of the type {}", worker.worker_type)));
        }
        loop {
            let group = core.group_or_new(&worker.worker_type);
            match group.join(&worker.id, usize::from(options.prefetch), || core.is_closed())? {
                JoinResult::Added(key) => {
                    let handle = Arc::new(ConsumerHandle { core: Arc::clone(core), group, key });
                    return Ok(Self { handle, counted: None });
                }
                JoinResult::Duplicate => return Err(refuse("a worker of this id is on the bus already".to_owned())),
                // The task that retired it is about to remove it; so does this one, and tries again.
                JoinResult::Retired => core.retire(&group),
            }
        }
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let handle = &self.handle;
        // A queue that is never empty must not keep the tasks beside this one from running.
        tokio::task::consume_budget().await;
        if self.counted.is_none() {
            let Outgoing { tag, job, redelivered, times } = poll_fn(|cx| handle.group.poll(handle.key, cx)).await?;
            let settle = EmbeddedSettle::new(Arc::clone(handle), job.record(), tag);
            let delivery = Delivery::new(Job::clone(&job), redelivered, Box::new(settle));
            let (true, Some(journal), Some(record)) = (redelivered, &handle.core.journal, job.record()) else {
                return Some(delivery);
            };
            // A job that has come back may be what kills the host: it is counted before it goes out again.
            let committed = Box::pin(journal.commit(JournalChange::Delivered { record, times }));
            self.counted = Some(CountedDelivery { delivery, committed });
        }
        self.counted.as_mut()?.committed.as_mut().await;
        self.counted.take().map(|counted| counted.delivery)
    }

    async fn leave_type(&mut self) {
        self.counted = None;
        self.handle.group.leave_type(self.handle.key);
    }

    async fn pause(&mut self) {
        self.counted = None;
        self.handle.group.pause(self.handle.key);
    }

    async fn resume(&mut self) {
        self.handle.group.resume(self.handle.key);
    }

    async fn stop(&mut self) {
        self.counted = None;
        self.handle.group.stop(self.handle.key);
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        let ConsumerHandle { core, group, key } = &*self.handle;
        group.leave(*key);
        core.retire(group);
    }
}
