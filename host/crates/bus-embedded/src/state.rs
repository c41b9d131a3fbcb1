//! What a pool's lock guards, and every way in which a job moves.
//!
//! Two invariants hold whenever the lock is free. *No idle room*: while the type's queue has a job, no slot has room in
//! its prefetch, those that have left the type or pause aside; while an id's queue has one, its slot has none. *Every slot with
//! room for the type is in the round robin.* Each
//! function below restores them before it returns, so a job never waits beside a worker that could take it, and only the
//! one consumer that was given a job is woken. A consumer that goes away after that hands the job back as part of
//! leaving, so no wake-up can be lost with it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use mshost_bus::{Absent, DeathReason, Job, SendError};
use mshost_core::ids::{Address, WorkerId, WorkerType};
use slab::Slab;

use super::effects::Effects;
use super::kept::Kept;
use super::queue::{Queue, Queued, Waiting};
use super::slot::{Held, Slot, SlotKey, by_id};

/// See the module.
pub(super) struct State {
    pub(super) closed: bool,
    /// Nothing and nobody is left, and the pool is no longer in the bus's map.
    pub(super) retired: bool,
    /// Jobs addressed to the type.
    pub(super) shared: Queue,
    pub(super) slots: Slab<Slot>,
    /// Those of `slots` that take jobs.
    pub(super) by_id: HashMap<WorkerId, usize>,
    /// How many of them take jobs of the type.
    pub(super) members: usize,
    /// Slots that may have room, next first; each at most once.
    turns: VecDeque<usize>,
    serials: u64,
    /// The type has had workers.
    pub(super) known: bool,
    kind: WorkerType,
    rules: Rules,
}

/// What holds for all pools of a bus.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The most jobs that wait in one queue.
    pub(super) queue: usize,
    /// How often a job may be returned by `next` and not settled.
    pub(super) deliveries: u32,
    /// What becomes of a job for a type that has no worker now.
    pub(super) absent: Absent,
}

/// What became of an offered job.
pub(super) enum Offer {
    Accepted,
    Refused(SendError),
    Full(Arc<Kept>),
}

impl State {
    pub(super) fn new(kind: WorkerType, rules: Rules) -> Self {
        Self {
            closed: false,
            retired: false,
            shared: Queue::new(rules.queue),
            slots: Slab::new(),
            by_id: HashMap::new(),
            members: 0,
            turns: VecDeque::new(),
            serials: 0,
            known: false,
            kind,
            rules,
        }
    }

    /// Takes a new job in, if there is a worker for it and room.
    pub(super) fn offer(&mut self, job: Arc<Kept>, effects: &mut Effects) -> Offer {
        if self.closed {
            effects.withdraw([job]);
            return Offer::Refused(closed());
        }
        let (free, queue) = match job.route.target() {
            Address::Any(_) if self.members == 0 && !self.waits() => return no_worker(job, effects),
            Address::Any(_) => (self.next_turn(), &mut self.shared),
            Address::One(id) => {
                let Some(&index) = self.by_id.get(id) else { return no_worker(job, effects) };
                let slot = &mut self.slots[index];
                (slot.has_room().then_some(index), &mut slot.own)
            }
        };
        match free {
            Some(index) => self.hand(index, Queued::new(job), effects),
            None => match queue.offer(job) {
                Ok(()) => {}
                Err(job) => return Offer::Full(job),
            },
        }
        Offer::Accepted
    }

    /// Why [`State::offer`] would refuse a job for this target.
    pub(super) fn refusal(&self, target: &Address) -> Option<SendError> {
        let is_there = match target {
            Address::Any(_) => self.members > 0 || self.waits(),
            Address::One(id) => self.by_id.contains_key(id),
        };
        if self.closed { Some(closed()) } else { (!is_there).then(|| SendError::NoWorker(target.clone())) }
    }

    /// Whether jobs wait while the type has no worker.
    fn waits(&self) -> bool {
        self.known && self.rules.absent == Absent::Wait
    }

    /// Nobody and nothing is left, and nothing has to be remembered.
    pub(super) fn is_unused(&self) -> bool {
        self.slots.is_empty() && self.shared.is_unused() && !self.waits()
    }

    /// See [`Queue::expire`].
    pub(super) fn expire(&mut self, now: SystemTime, most: usize, effects: &mut Effects) -> bool {
        let mut more = self.shared.expire(now, most, effects);
        for (_, slot) in &mut self.slots {
            more |= slot.own.expire(now, most, effects);
        }
        more
    }

    /// Puts the sender of a job that found its queue full into that queue's line.
    pub(super) fn wait(&mut self, job: Arc<Kept>) -> Waiting {
        // Never used twice in a pool: an id that leaves and comes back has a new line, but old senders may still give up.
        self.serials += 1;
        let serial = self.serials;
        self.home(&job).wait(job, serial)
    }

    /// See [`Queue::give_up`]. A slot that is gone has refused its whole line.
    pub(super) fn give_up(&mut self, target: &Address, serial: u64, effects: &mut Effects) -> bool {
        match target {
            Address::Any(_) => self.shared.give_up(serial, effects),
            Address::One(id) => match self.by_id.get(id) {
                Some(&index) => self.slots[index].own.give_up(serial, effects),
                None => false,
            },
        }
    }

    /// Gives a worker a slot, and what it can take at once. `None` where the id has one already.
    pub(super) fn join(&mut self, id: &WorkerId, prefetch: usize, effects: &mut Effects) -> Option<SlotKey> {
        if self.by_id.contains_key(id) {
            return None;
        }
        self.serials += 1;
        let serial = self.serials;
        let index = self.slots.insert(Slot::new(serial, id.clone(), prefetch, self.rules.queue));
        self.by_id.insert(id.clone(), index);
        self.members += 1;
        self.known = true;
        self.fill(index, effects);
        Some(SlotKey { index, serial })
    }

    /// A slot takes no more jobs of its type; those that it has not begun go back.
    pub(super) fn leave_type(&mut self, key: SlotKey, effects: &mut Effects) {
        let Some(slot) = self.slot(key).filter(|slot| !slot.left_type) else { return };
        slot.left_type = true;
        self.members -= 1;
        self.hand_back_type(key.index, effects);
        if self.members == 0 && !self.waits() {
            self.shared.refuse_line(&SendError::NoWorker(Address::Any(self.kind.clone())), effects);
        }
        // The room that this made is for what waits for its id.
        self.fill(key.index, effects);
    }

    /// A slot takes no jobs of its type for now; those that it has not begun go back.
    pub(super) fn pause(&mut self, key: SlotKey, effects: &mut Effects) {
        let Some(slot) = self.slot(key).filter(|slot| slot.takes_type()) else { return };
        slot.paused = true;
        self.hand_back_type(key.index, effects);
        // As in `leave_type`.
        self.fill(key.index, effects);
    }

    /// A slot takes jobs of its type again.
    pub(super) fn resume(&mut self, key: SlotKey, effects: &mut Effects) {
        let Some(slot) = self.slot(key).filter(|slot| slot.paused) else { return };
        slot.paused = false;
        self.fill(key.index, effects);
    }

    /// Puts back what a slot that takes no more of its type has not begun.
    fn hand_back_type(&mut self, index: usize, effects: &mut Effects) {
        let slot = &mut self.slots[index];
        slot.in_turn = false;
        let unbegun = slot.take_unbegun(|job| !by_id(job));
        self.turns.retain(|turn| *turn != index);
        for queued in &unbegun {
            self.no_longer_held(index, &queued.job);
        }
        self.put_back(unbegun, effects);
    }

    /// A slot takes no more jobs. What waits for its id is nobody's from now on; what it has not begun goes back.
    pub(super) fn stop(&mut self, key: SlotKey, effects: &mut Effects) {
        self.leave_type(key, effects);
        let Some(slot) = self.slot(key).filter(|slot| !slot.stopped) else { return };
        slot.stopped = true;
        // Nobody waits in `next` while this is called; woken only so that it is not dropped under the lock.
        effects.wake(slot.waker.take());
        let unbegun = slot.take_unbegun(|_| true);
        let gone = SendError::NoWorker(Address::One(slot.id.clone()));
        slot.own.refuse_line(&gone, effects);
        slot.own.drain().for_each(|job| effects.bury(job, DeathReason::NoWorker));
        let id = slot.id.clone();
        self.by_id.remove(&id);
        for queued in &unbegun {
            self.no_longer_held(key.index, &queued.job);
        }
        self.put_back(unbegun, effects);
    }

    /// A consumer is gone; all that it held goes back.
    pub(super) fn leave(&mut self, key: SlotKey, effects: &mut Effects) {
        self.stop(key, effects);
        let Some(slot) = self.slot(key) else { return };
        let held = slot.surrender();
        for queued in &held {
            self.no_longer_held(key.index, &queued.job);
        }
        self.slots.remove(key.index);
        self.put_back(held, effects);
    }

    /// Takes a delivered job out of a slot's hands and gives the slot its next. `None` where it is not there any more.
    pub(super) fn release(&mut self, key: SlotKey, tag: usize) -> Option<Held> {
        let held = self.slot(key)?.held.try_remove(tag)?;
        self.no_longer_held(key.index, &held.queued.job);
        Some(held)
    }

    /// Keeps a place for a delayed job; gives the slot whose queue keeps it.
    pub(super) fn schedule(&mut self, job: &Job) -> Option<SlotKey> {
        match job.route.target() {
            Address::Any(_) => {
                self.shared.schedule();
                None
            }
            Address::One(id) => {
                let index = *self.by_id.get(id)?;
                let slot = &mut self.slots[index];
                slot.own.schedule();
                Some(SlotKey { index, serial: slot.serial })
            }
        }
    }

    /// A delayed job is due.
    pub(super) fn due(&mut self, queued: Queued, place: Option<SlotKey>, effects: &mut Effects) {
        if self.closed {
            return effects.discard([queued.job]);
        }
        match place {
            Some(key) => {
                if let Some(slot) = self.slot(key) {
                    slot.own.unschedule();
                }
            }
            None if !by_id(&queued.job) => self.shared.unschedule(),
            // Its worker had left when it was scheduled.
            None => {}
        }
        self.again(queued, effects);
    }

    /// Queues a job for its next attempt, behind the others.
    pub(super) fn again(&mut self, queued: Queued, effects: &mut Effects) {
        if let Some(queued) = self.give(queued, effects) {
            self.home(&queued.job).push(queued);
        }
    }

    /// Hands jobs back, in the order that they were delivered in, ahead of those that wait.
    pub(super) fn put_back(&mut self, jobs: Vec<Queued>, effects: &mut Effects) {
        let waiting: Vec<_> = jobs.into_iter().filter_map(|queued| self.give(queued, effects)).collect();
        // From the last, since each goes to the front.
        for queued in waiting.into_iter().rev() {
            self.home(&queued.job).push_first(queued);
        }
    }

    /// Gives a job that the bus answers for to whoever has room for it, or back where it has to wait.
    fn give(&mut self, queued: Queued, effects: &mut Effects) -> Option<Queued> {
        if queued.deliveries >= self.rules.deliveries {
            effects.bury(queued.job, DeathReason::Crashed);
            return None;
        }
        let free = match queued.job.route.target() {
            Address::Any(_) => self.next_turn(),
            Address::One(id) => match self.by_id.get(id) {
                Some(&index) => self.slots[index].has_room().then_some(index),
                None => {
                    effects.bury(queued.job, DeathReason::NoWorker);
                    return None;
                }
            },
        };
        let Some(index) = free else { return Some(queued) };
        self.hand(index, queued, effects);
        None
    }

    /// Gives a slot all that it has room for, from both queues in turn, and its place in the round robin.
    pub(super) fn fill(&mut self, index: usize, effects: &mut Effects) {
        let mut now = None;
        while self.slots[index].has_room() {
            let slot = &mut self.slots[index];
            let from_own = !slot.takes_type() || !slot.own.is_empty() && (slot.own_turn || self.shared.is_empty());
            let queue = if from_own { &mut slot.own } else { &mut self.shared };
            let Some(queued) = queue.pop(effects) else { break };
            if queued.is_expired(&mut now) {
                effects.bury(queued.job, DeathReason::Expired);
                continue;
            }
            slot.own_turn = !from_own;
            self.deliver(index, queued, effects);
        }
        self.take_turn(index);
    }

    /// Forgets everything; slots stay, empty, for the consumers that own them.
    pub(super) fn close(&mut self, effects: &mut Effects) {
        self.closed = true;
        self.shared.refuse_line(&closed(), effects);
        effects.discard(self.shared.drain());
        self.by_id.clear();
        self.members = 0;
        self.turns.clear();
        for (_, slot) in &mut self.slots {
            (slot.left_type, slot.stopped) = (true, true);
            slot.own.refuse_line(&closed(), effects);
            effects.discard(slot.own.drain());
            effects.discard(slot.surrender().into_iter().map(|queued| queued.job));
            effects.wake(slot.waker.take());
        }
    }

    /// The slot, unless it has gone.
    pub(super) fn slot(&mut self, key: SlotKey) -> Option<&mut Slot> {
        self.slots.get_mut(key.index).filter(|slot| slot.serial == key.serial)
    }

    fn no_longer_held(&mut self, index: usize, job: &Job) {
        let queue = if by_id(job) { &mut self.slots[index].own } else { &mut self.shared };
        queue.settled();
    }

    /// Delivers to a slot that has room, and renews its turn.
    fn hand(&mut self, index: usize, queued: Queued, effects: &mut Effects) {
        self.deliver(index, queued, effects);
        self.take_turn(index);
    }

    fn deliver(&mut self, index: usize, queued: Queued, effects: &mut Effects) {
        self.serials += 1;
        let slot = &mut self.slots[index];
        let queue = if by_id(&queued.job) { &mut slot.own } else { &mut self.shared };
        queue.delivered();
        slot.hand(queued, self.serials);
        effects.wake(slot.waker.take());
    }

    /// Puts a slot that has room at the end of the round robin, unless it stands there.
    fn take_turn(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.has_room_for_type() && !slot.in_turn {
            slot.in_turn = true;
            self.turns.push_back(index);
        }
    }

    /// The next slot that has room. Those that have lost it meanwhile drop out, and come back by `take_turn`.
    fn next_turn(&mut self) -> Option<usize> {
        loop {
            let index = self.turns.pop_front()?;
            let slot = &mut self.slots[index];
            slot.in_turn = false;
            if slot.has_room_for_type() {
                return Some(index);
            }
        }
    }

    /// The queue of a job whose target is there.
    fn home(&mut self, job: &Job) -> &mut Queue {
        match job.route.target() {
            Address::One(id) if let Some(&index) = self.by_id.get(id) => &mut self.slots[index].own,
            _ => &mut self.shared,
        }
    }
}

fn no_worker(job: Arc<Kept>, effects: &mut Effects) -> Offer {
    let target = job.route.target().clone();
    effects.withdraw([job]);
    Offer::Refused(SendError::NoWorker(target))
}

pub(super) fn closed() -> SendError {
    SendError::Unavailable("it is closed".to_owned())
}
