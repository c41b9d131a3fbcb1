//! The two queues that a worker consumes from: its type's and its own.

use lapin::options::QueueDeleteOptions;
use mshost_bus::Durability;
use mshost_core::ids::{WorkerRef, WorkerType};

use crate::broker_objects::queues::JobQueueKind;
use crate::broker_objects::{names, queues};
use crate::engine::AmqpEngine;
use crate::link::connection::BrokerLink;
use crate::sessions::demand::Demand;

/// The queues of one worker.
pub(super) struct WorkerQueues {
    worker: WorkerRef,
    kind: JobQueueKind,
    /// The worker's own queue was made for it, and no job could come to it yet.
    own_is_unbound: bool,
}

impl WorkerQueues {
    /// The queues of a worker, which are all of one kind.
    pub(super) fn new(worker: WorkerRef, kind: JobQueueKind) -> Self {
        Self { worker, kind, own_is_unbound: false }
    }

    /// Whose queues they are.
    pub(super) fn worker(&self) -> &WorkerRef {
        &self.worker
    }

    /// The worker's type.
    pub(super) fn worker_type(&self) -> &WorkerType {
        &self.worker.worker_type
    }

    /// What they are like.
    pub(super) fn kind(&self) -> JobQueueKind {
        self.kind
    }

    /// Makes sure that both queues are there and jobs come to them.
    pub(super) async fn declare(
        &mut self,
        engine: &AmqpEngine,
        link: &BrokerLink,
        demand: Demand,
    ) -> lapin::Result<()> {
        let keeps_type = demand.keeps_type();
        let what = format!("declare the queues of {}", self.worker.id);
        link.answer(&what, self.declare_unbound(engine, link, keeps_type)).await?;
        engine.quorum_warmup.until_written().await;
        let bind = async {
            let channel = link.consume.create_channel().await?;
            if keeps_type {
                queues::bind_type(&channel, &self.worker.worker_type).await?;
            }
            queues::bind_own(&channel, &self.worker.id).await
        };
        link.answer(&what, bind).await?;
        self.own_is_unbound = false;
        Ok(())
    }

    async fn declare_unbound(&mut self, engine: &AmqpEngine, link: &BrokerLink, keeps_type: bool) -> lapin::Result<()> {
        let (worker_type, id) = (&self.worker.worker_type, &self.worker.id);
        let channel = link.consume.create_channel().await?;
        let mut is_new = false;
        if self.kind.durability == Durability::Replicated {
            if !queues::is_there(&link.consume, names::own_queue(id)).await? {
                is_new = true;
                self.own_is_unbound = true;
            } else if self.own_is_unbound {
                // We made it, and the link went before a job could come to it. If that was the broker's death it may be without
                // a leader for ever.
                is_new = true;
                channel.queue_delete(names::own_queue(id), QueueDeleteOptions::default()).await?;
            }
            is_new |= keeps_type && !queues::is_there(&link.consume, names::type_queue(worker_type)).await?;
        }
        let declared = async {
            if keeps_type {
                queues::declare_type(&channel, worker_type, self.kind).await?;
            }
            queues::declare_own(&channel, id, self.kind).await
        };
        let declared = declared.await;
        if is_new {
            // Also where only one of them was made.
            engine.quorum_warmup.note_declared();
        }
        declared
    }
}
