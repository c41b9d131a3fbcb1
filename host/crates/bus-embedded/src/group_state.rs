//! The state of a queue group, which its lock guards, and every way in which a job moves.
//!
//! Two invariants hold whenever the lock is free. *No idle room*: while the type's queue has a job, no consumer has room in
//! its prefetch, those that have left the type or pause aside; while an id's queue has one, its consumer has none. *Every
//! consumer with room for the type is in the rotation.* Each function below restores them before it returns, so a job never
//! waits beside a consumer that could take it, and only the one consumer that was given a job is woken. A consumer that leaves
//! after that requeues the job as part of leaving, so no wake-up can be lost with it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use mshost_bus::{Absent, DeathReason, Job, SendError};
use mshost_core::ids::{Address, WorkerId, WorkerType};
use slab::Slab;

use super::consumer_state::{ConsumerKey, ConsumerState, Unacked, by_id};
use super::deferred_effects::DeferredEffects;
use super::job_queue::{JobQueue, PendingSend, QueuedJob};
use super::stored_job::StoredJob;

/// The queues and the consumers of one worker type.
pub(super) struct GroupState {
    pub(super) closed: bool,
    /// Neither jobs nor consumers are left, and the group is no longer in the bus's map.
    pub(super) retired: bool,
    /// Jobs addressed to the type.
    pub(super) type_queue: JobQueue,
    pub(super) consumers: Slab<ConsumerState>,
    /// Those of `consumers` that take jobs.
    pub(super) by_id: HashMap<WorkerId, usize>,
    /// How many of them take jobs of the type.
    pub(super) type_consumers: usize,
    /// Consumers that may have room, next first; each at most once: the round robin.
    rotation: VecDeque<usize>,
    serials: u64,
    /// The type has had workers.
    pub(super) known: bool,
    kind: WorkerType,
    rules: QueueRules,
}

/// What holds for all groups of a bus.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueRules {
    /// The most jobs that wait in one queue.
    pub(super) queue: usize,
    /// How often a job may be returned by `next` and not settled.
    pub(super) deliveries: u32,
    /// What becomes of a job for a type that has no worker now.
    pub(super) absent: Absent,
}

/// What became of an offered job.
pub(super) enum Offered {
    Accepted,
    Refused(SendError),
    Full(Arc<StoredJob>),
}

impl GroupState {
    pub(super) fn new(kind: WorkerType, rules: QueueRules) -> Self {
        Self {
            closed: false,
            retired: false,
            type_queue: JobQueue::new(rules.queue),
            consumers: Slab::new(),
            by_id: HashMap::new(),
            type_consumers: 0,
            rotation: VecDeque::new(),
            serials: 0,
            known: false,
            kind,
            rules,
        }
    }

    /// Takes a new job in, if there is a worker for it and room.
    pub(super) fn offer(&mut self, job: Arc<StoredJob>, effects: &mut DeferredEffects) -> Offered {
        if self.closed {
            effects.withdraw([job]);
            return Offered::Refused(closed());
        }
        let (free, queue) = match job.route.target() {
            Address::Any(_) if self.type_consumers == 0 && !self.waits() => return no_worker(job, effects),
            Address::Any(_) => (self.next_in_rotation(), &mut self.type_queue),
            Address::One(id) => {
                let Some(&index) = self.by_id.get(id) else { return no_worker(job, effects) };
                let consumer = &mut self.consumers[index];
                (consumer.has_room().then_some(index), &mut consumer.id_queue)
            }
        };
        match free {
            Some(index) => self.deliver_in_rotation(index, QueuedJob::new(job), effects),
            None => match queue.offer(job) {
                Ok(()) => {}
                Err(job) => return Offered::Full(job),
            },
        }
        Offered::Accepted
    }

    /// Why [`GroupState::offer`] would refuse a job for this target.
    pub(super) fn refusal(&self, target: &Address) -> Option<SendError> {
        let is_there = match target {
            Address::Any(_) => self.type_consumers > 0 || self.waits(),
            Address::One(id) => self.by_id.contains_key(id),
        };
        if self.closed { Some(closed()) } else { (!is_there).then(|| SendError::NoWorker(target.clone())) }
    }

    /// Whether jobs wait while the type has no worker.
    fn waits(&self) -> bool {
        self.known && self.rules.absent == Absent::Wait
    }

    /// Neither jobs nor consumers are left, and nothing has to be remembered.
    pub(super) fn is_unused(&self) -> bool {
        self.consumers.is_empty() && self.type_queue.is_unused() && !self.waits()
    }

    /// See [`JobQueue::expire`].
    pub(super) fn expire(&mut self, now: SystemTime, most: usize, effects: &mut DeferredEffects) -> bool {
        let mut more = self.type_queue.expire(now, most, effects);
        for (_, consumer) in &mut self.consumers {
            more |= consumer.id_queue.expire(now, most, effects);
        }
        more
    }

    /// Has the sender of a job that found its queue full wait for room.
    pub(super) fn wait(&mut self, job: Arc<StoredJob>) -> PendingSend {
        // Never used twice in a group: an id that leaves and comes back has a new queue, but old senders may still give up.
        self.serials += 1;
        let serial = self.serials;
        self.queue_of(&job).wait(job, serial)
    }

    /// See [`JobQueue::give_up`]. A consumer that is gone has refused all that waited.
    pub(super) fn give_up(&mut self, target: &Address, serial: u64, effects: &mut DeferredEffects) -> bool {
        match target {
            Address::Any(_) => self.type_queue.give_up(serial, effects),
            Address::One(id) => match self.by_id.get(id) {
                Some(&index) => self.consumers[index].id_queue.give_up(serial, effects),
                None => false,
            },
        }
    }

    /// Adds a consumer, and delivers what it can take at once. `None` where the id has one already.
    pub(super) fn join(
        &mut self,
        id: &WorkerId,
        prefetch: usize,
        effects: &mut DeferredEffects,
    ) -> Option<ConsumerKey> {
        if self.by_id.contains_key(id) {
            return None;
        }
        self.serials += 1;
        let serial = self.serials;
        let index = self.consumers.insert(ConsumerState::new(serial, id.clone(), prefetch, self.rules.queue));
        self.by_id.insert(id.clone(), index);
        self.type_consumers += 1;
        self.known = true;
        self.fill(index, effects);
        Some(ConsumerKey { index, serial })
    }

    /// A consumer takes no more jobs of its type; its prefetched ones return to the queue.
    pub(super) fn leave_type(&mut self, key: ConsumerKey, effects: &mut DeferredEffects) {
        let Some(consumer) = self.consumer(key).filter(|consumer| !consumer.left_type) else { return };
        consumer.left_type = true;
        self.type_consumers -= 1;
        self.release_type(key.index, effects);
        if self.type_consumers == 0 && !self.waits() {
            self.type_queue.refuse_senders(&SendError::NoWorker(Address::Any(self.kind.clone())), effects);
        }
        // The room that this made is for what waits for its id.
        self.fill(key.index, effects);
    }

    /// A consumer takes no jobs of its type for now; its prefetched ones return to the queue.
    pub(super) fn pause(&mut self, key: ConsumerKey, effects: &mut DeferredEffects) {
        let Some(consumer) = self.consumer(key).filter(|consumer| consumer.takes_type()) else { return };
        consumer.paused = true;
        self.release_type(key.index, effects);
        // As in `leave_type`.
        self.fill(key.index, effects);
    }

    /// A consumer takes jobs of its type again.
    pub(super) fn resume(&mut self, key: ConsumerKey, effects: &mut DeferredEffects) {
        let Some(consumer) = self.consumer(key).filter(|consumer| consumer.paused) else { return };
        consumer.paused = false;
        self.fill(key.index, effects);
    }

    /// Releases the prefetched jobs of the type of a consumer that takes no more of it.
    fn release_type(&mut self, index: usize, effects: &mut DeferredEffects) {
        let consumer = &mut self.consumers[index];
        consumer.in_rotation = false;
        let prefetched = consumer.take_prefetched(|job| !by_id(job));
        self.rotation.retain(|turn| *turn != index);
        for queued in &prefetched {
            self.note_settled(index, &queued.job);
        }
        self.return_to_front(prefetched, effects);
    }

    /// A consumer takes no more jobs. What waits for its id is dead-lettered; what it has prefetched returns to the queue.
    pub(super) fn stop(&mut self, key: ConsumerKey, effects: &mut DeferredEffects) {
        self.leave_type(key, effects);
        let Some(consumer) = self.consumer(key).filter(|consumer| !consumer.stopped) else { return };
        consumer.stopped = true;
        // No task waits in `next` while this is called; woken only so that it is not dropped under the lock.
        effects.wake(consumer.waker.take());
        let prefetched = consumer.take_prefetched(|_| true);
        let gone = SendError::NoWorker(Address::One(consumer.id.clone()));
        consumer.id_queue.refuse_senders(&gone, effects);
        consumer.id_queue.drain().for_each(|job| effects.dead_letter(job, DeathReason::NoWorker));
        let id = consumer.id.clone();
        self.by_id.remove(&id);
        for queued in &prefetched {
            self.note_settled(key.index, &queued.job);
        }
        self.return_to_front(prefetched, effects);
    }

    /// Removes a consumer; all that it has not settled returns to the queue.
    pub(super) fn leave(&mut self, key: ConsumerKey, effects: &mut DeferredEffects) {
        self.stop(key, effects);
        let Some(consumer) = self.consumer(key) else { return };
        let held = consumer.take_all_unacked();
        for queued in &held {
            self.note_settled(key.index, &queued.job);
        }
        self.consumers.remove(key.index);
        self.return_to_front(held, effects);
    }

    /// Removes a job from those that a consumer has not settled. `None` where it is not there any more.
    pub(super) fn take_unacked(&mut self, key: ConsumerKey, tag: usize) -> Option<Unacked> {
        let held = self.consumer(key)?.unacked.try_remove(tag)?;
        self.note_settled(key.index, &held.queued.job);
        Some(held)
    }

    /// Reserves room for a delayed job; returns the consumer in whose queue it is reserved, if it is not the type's.
    pub(super) fn schedule(&mut self, job: &Job) -> Option<ConsumerKey> {
        match job.route.target() {
            Address::Any(_) => {
                self.type_queue.schedule();
                None
            }
            Address::One(id) => {
                let index = *self.by_id.get(id)?;
                let consumer = &mut self.consumers[index];
                consumer.id_queue.schedule();
                Some(ConsumerKey { index, serial: consumer.serial })
            }
        }
    }

    /// A delayed job is due.
    pub(super) fn due(&mut self, queued: QueuedJob, reserved: Option<ConsumerKey>, effects: &mut DeferredEffects) {
        if self.closed {
            return effects.discard([queued.job]);
        }
        match reserved {
            Some(key) => {
                if let Some(consumer) = self.consumer(key) {
                    consumer.id_queue.unschedule();
                }
            }
            None if !by_id(&queued.job) => self.type_queue.unschedule(),
            // Its worker had left when it was scheduled.
            None => {}
        }
        self.again(queued, effects);
    }

    /// Queues a job for its next attempt, behind the others.
    pub(super) fn again(&mut self, queued: QueuedJob, effects: &mut DeferredEffects) {
        if let Some(queued) = self.dispatch(queued, effects) {
            self.queue_of(&queued.job).push(queued);
        }
    }

    /// Returns jobs to their queues, in the order that they were delivered in, ahead of those that wait.
    pub(super) fn return_to_front(&mut self, jobs: Vec<QueuedJob>, effects: &mut DeferredEffects) {
        let waiting: Vec<_> = jobs.into_iter().filter_map(|queued| self.dispatch(queued, effects)).collect();
        // From the last, since each goes to the front.
        for queued in waiting.into_iter().rev() {
            self.queue_of(&queued.job).push_first(queued);
        }
    }

    /// Delivers an accepted job to a consumer with room; returns it where it has to wait.
    fn dispatch(&mut self, queued: QueuedJob, effects: &mut DeferredEffects) -> Option<QueuedJob> {
        if queued.deliveries >= self.rules.deliveries {
            effects.dead_letter(queued.job, DeathReason::Crashed);
            return None;
        }
        let free = match queued.job.route.target() {
            Address::Any(_) => self.next_in_rotation(),
            Address::One(id) => match self.by_id.get(id) {
                Some(&index) => self.consumers[index].has_room().then_some(index),
                None => {
                    effects.dead_letter(queued.job, DeathReason::NoWorker);
                    return None;
                }
            },
        };
        let Some(index) = free else { return Some(queued) };
        self.deliver_in_rotation(index, queued, effects);
        None
    }

    /// Delivers to a consumer all that it has room for, from both queues in turn, and has it join the rotation.
    pub(super) fn fill(&mut self, index: usize, effects: &mut DeferredEffects) {
        let mut now = None;
        while self.consumers[index].has_room() {
            let consumer = &mut self.consumers[index];
            let from_id_queue = !consumer.takes_type()
                || !consumer.id_queue.is_empty() && (consumer.id_queue_turn || self.type_queue.is_empty());
            let queue = if from_id_queue { &mut consumer.id_queue } else { &mut self.type_queue };
            let Some(queued) = queue.pop(effects) else { break };
            if queued.is_expired(&mut now) {
                effects.dead_letter(queued.job, DeathReason::Expired);
                continue;
            }
            consumer.id_queue_turn = !from_id_queue;
            self.deliver(index, queued, effects);
        }
        self.join_rotation(index);
    }

    /// Forgets everything; consumers stay, empty, for the handles that own them.
    pub(super) fn close(&mut self, effects: &mut DeferredEffects) {
        self.closed = true;
        self.type_queue.refuse_senders(&closed(), effects);
        effects.discard(self.type_queue.drain());
        self.by_id.clear();
        self.type_consumers = 0;
        self.rotation.clear();
        for (_, consumer) in &mut self.consumers {
            (consumer.left_type, consumer.stopped) = (true, true);
            consumer.id_queue.refuse_senders(&closed(), effects);
            effects.discard(consumer.id_queue.drain());
            effects.discard(consumer.take_all_unacked().into_iter().map(|queued| queued.job));
            effects.wake(consumer.waker.take());
        }
    }

    /// The consumer, unless it has gone.
    pub(super) fn consumer(&mut self, key: ConsumerKey) -> Option<&mut ConsumerState> {
        self.consumers.get_mut(key.index).filter(|consumer| consumer.serial == key.serial)
    }

    fn note_settled(&mut self, index: usize, job: &Job) {
        let queue = if by_id(job) { &mut self.consumers[index].id_queue } else { &mut self.type_queue };
        queue.settled();
    }

    /// Delivers to a consumer that has room, and has it join the rotation again.
    fn deliver_in_rotation(&mut self, index: usize, queued: QueuedJob, effects: &mut DeferredEffects) {
        self.deliver(index, queued, effects);
        self.join_rotation(index);
    }

    fn deliver(&mut self, index: usize, queued: QueuedJob, effects: &mut DeferredEffects) {
        self.serials += 1;
        let consumer = &mut self.consumers[index];
        let queue = if by_id(&queued.job) { &mut consumer.id_queue } else { &mut self.type_queue };
        queue.delivered();
        consumer.push(queued, self.serials);
        effects.wake(consumer.waker.take());
    }

    /// Puts a consumer that has room at the end of the rotation, unless it is there.
    fn join_rotation(&mut self, index: usize) {
        let consumer = &mut self.consumers[index];
        if consumer.has_room_for_type() && !consumer.in_rotation {
            consumer.in_rotation = true;
            self.rotation.push_back(index);
        }
    }

    /// The next consumer that has room. Those that have lost it meanwhile drop out, and come back by `join_rotation`.
    fn next_in_rotation(&mut self) -> Option<usize> {
        loop {
            let index = self.rotation.pop_front()?;
            let consumer = &mut self.consumers[index];
            consumer.in_rotation = false;
            if consumer.has_room_for_type() {
                return Some(index);
            }
        }
    }

    /// The queue of a job whose target is there.
    fn queue_of(&mut self, job: &Job) -> &mut JobQueue {
        match job.route.target() {
            Address::One(id) if let Some(&index) = self.by_id.get(id) => &mut self.consumers[index].id_queue,
            _ => &mut self.type_queue,
        }
    }
}

fn no_worker(job: Arc<StoredJob>, effects: &mut DeferredEffects) -> Offered {
    let target = job.route.target().clone();
    effects.withdraw([job]);
    Offered::Refused(SendError::NoWorker(target))
}

pub(super) fn closed() -> SendError {
    SendError::Unavailable("it is closed".to_owned())
}
