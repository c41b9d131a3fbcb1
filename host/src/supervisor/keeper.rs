//! Keeps one slot of the plan as it should be: the smallest reconcile loop.
//!
//! The supervisor says what the slot should run; the keeper gets there by itself, however often the wish changes: it
//! starts the new worker, waits until it is ready, and only then drains the old one. A new worker that does not start
//! leaves the old one as it is. One that takes over the state of the old one does so in between ([`takeover`]), and one
//! on trial proves itself first ([`proving`]). Each slot has a keeper of its own, so that one that hangs delays no other.
//!
//! What a keeper is about is its [`SlotState`]; for each there is one function here, which waits for what can happen then
//! and says what did.

mod expecting;
mod proving;

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_core::ids::GenerationId;
use mshost_topology::{Isolation, ParkedJobs, Slot, WorkerSpec};
use mshost_worker::{Entrance, Expected, Listeners, Sockets, StartFailure, Stragglers, Trouble, Worker, refuse_jobs};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use self::expecting::Expecting;
use super::lease::Lease;
use super::restarts::{Restarts, Verdict};
use super::side::{Berth, Side};
use super::slot_state::{SlotEvent, SlotState};
use super::takeover::{self, Turns};
use super::trial::Trial;
use super::view::SlotView;

const TARGET: &str = "mshost::supervisor";

/// What a slot should run.
#[derive(Clone)]
pub(super) struct Wish {
    pub(super) spec: Arc<WorkerSpec>,
    pub(super) generation: Lease,
    /// While the generation has to prove itself.
    pub(super) trial: Option<Arc<Trial>>,
    /// The bus that it is to live on, and what goes with it.
    pub(super) side: Arc<Side>,
}

impl Wish {
    fn is(&self, other: &Self) -> bool {
        self.spec == other.spec && self.generation.id() == other.generation.id() && Arc::ptr_eq(&self.side, &other.side)
    }
}

/// The supervisor's end of a keeper. Dropping it, or wishing for nothing, drains the slot.
pub(super) struct Keeper {
    wish: watch::Sender<Option<Wish>>,
    handle: SlotHandle,
}

/// A slot, for those who look at it and may ask for a fresh worker.
#[derive(Debug, Clone)]
pub(super) struct SlotHandle {
    pub(super) view: Arc<Mutex<SlotView>>,
    /// Of capacity 1: asking twice before it has begun is asking once.
    pub(super) restart: mpsc::Sender<()>,
}

impl Keeper {
    /// A keeper for a slot; it runs on `tasks` until the slot is empty again.
    pub(super) fn spawn(
        slot: Slot,
        first: Wish,
        sockets: Arc<Sockets>,
        turns: Arc<Turns>,
        tasks: &TaskTracker,
    ) -> Self {
        let view = Arc::new(Mutex::new(SlotView::new(slot.clone(), &first)));
        let expected = first.side.surroundings.expected.clone();
        let expecting = Expecting::Once(expected.announce(slot.worker_type.clone()));
        let (wish, wishes) = watch::channel(Some(first));
        let (restart, asked) = mpsc::channel(1);
        let keeping = Keeping {
            slot,
            wishes,
            asked,
            sockets,
            turns,
            view: Arc::clone(&view),
            state: SlotState::Starting,
            current: None,
            fresh: false,
            refused: None,
            restarts: Restarts::default(),
            again_at: Instant::now(),
            stragglers: Vec::new(),
            drains: tasks.clone(),
            expected,
            expecting,
        };
        tasks.spawn(keeping.keep());
        Self { wish, handle: SlotHandle { view, restart } }
    }

    /// Changes what the slot should run.
    pub(super) fn wish(&self, wish: Wish) {
        self.wish.send_replace(Some(wish));
    }

    /// The slot, for those who look at it and may ask for a fresh worker.
    pub(super) fn handle(&self) -> SlotHandle {
        self.handle.clone()
    }
}

/// A worker that has its place on the bus, and what it was made from.
struct Current {
    worker: Worker,
    made_from: Wish,
    since: Instant,
    berth: Berth,
    // Keeps the sockets bound while the worker lives.
    _listeners: Listeners,
}

/// Whether a version may take the place of another.
enum Proved {
    /// Yes; with the worker that has shown it.
    Yes(Option<Current>),
    /// No, and why.
    No(StartFailure),
    /// Something else is wished for by now.
    CalledOff(SlotEvent),
}

struct Keeping {
    slot: Slot,
    wishes: watch::Receiver<Option<Wish>>,
    asked: mpsc::Receiver<()>,
    sockets: Arc<Sockets>,
    turns: Arc<Turns>,
    view: Arc<Mutex<SlotView>>,
    state: SlotState,
    /// There while a worker runs, and while a broken one waits for the one that replaces it.
    current: Option<Current>,
    /// Somebody asked for a worker that knows nothing of the one before.
    fresh: bool,
    /// A wish that could not be met while another worker ran, and what ran then. Only another wish is tried again.
    refused: Option<(Wish, Wish)>,
    restarts: Restarts,
    /// When the next try is due.
    again_at: Instant,
    /// The threads that each generation has left behind here.
    stragglers: Vec<(GenerationId, Stragglers)>,
    drains: TaskTracker,
    /// Where it says that a worker is on its way.
    expected: Expected,
    expecting: Expecting,
}

impl Keeping {
    async fn keep(mut self) {
        loop {
            let event = match self.state {
                SlotState::Starting | SlotState::Replacing => self.start().await,
                SlotState::Running => self.watch_over().await,
                SlotState::Backoff => self.wait().await,
                SlotState::Parked => self.stay_parked().await,
                SlotState::Leaving => self.leave().await,
                SlotState::Empty => break,
            };
            self.enter(event);
        }
    }

    fn enter(&mut self, event: SlotEvent) {
        if matches!(event, SlotEvent::Wished | SlotEvent::RestartAsked) {
            // Somebody has done something about whatever failed before.
            self.restarts.reset();
        }
        match self.state.after(event) {
            Ok(state) => self.state = state,
            Err(error) => {
                debug_assert!(false, "{error}");
                tracing::error!(target: TARGET, slot = %self.slot, "a bug in the host: {error}");
            }
        }
        self.view.lock().enter(self.state);
        let patience = self.wishes.borrow().as_ref().map_or(Duration::ZERO, |wish| wish.spec.start_timeout);
        let announce = || self.expected.announce(self.slot.worker_type.clone());
        self.expecting =
            std::mem::take(&mut self.expecting).after(self.state, self.current.is_some(), patience, announce);
    }

    /// Starts what is wished for and, once it is ready, swaps it in.
    async fn start(&mut self) -> SlotEvent {
        let Some(wish) = self.target() else { return SlotEvent::Withdrawn };
        let stragglers = self.prepare(&wish);
        if let Some(stuck) = self.stuck() {
            return self.not_started(wish, &StartFailure(stuck), true);
        }
        self.view.lock().starting(&wish);
        let canary = match self.prove(&wish, &stragglers).await {
            Proved::Yes(canary) => canary,
            Proved::No(failure) => return self.not_started(wish, &failure, false),
            Proved::CalledOff(event) => return event,
        };
        let event = self.bring_up(wish, stragglers).await;
        // It leaves once another has all of its place.
        self.dismiss(canary);
        event
    }

    /// Starts a worker and swaps it in.
    async fn bring_up(&mut self, wish: Wish, stragglers: Stragglers) -> SlotEvent {
        let fresh = std::mem::take(&mut self.fresh);
        let old = self.current.as_ref().filter(|_| self.state == SlotState::Replacing && !fresh);
        let entrance = takeover::entrance(old.map(|old| &old.made_from), &wish);
        let old = old.map(|old| &old.worker).filter(|_| matches!(entrance, Entrance::Admitted));
        let mut new = match self.begin(&wish, stragglers, entrance) {
            Ok(begun) => begun,
            Err(failure) => return self.not_started(wish, &failure, false),
        };
        let ready = tokio::select! {
            ready = ready(&mut new.worker, old, &wish, &self.turns) => ready,
            event = wished(&mut self.wishes) => {
                // Somebody wants something else by now.
                if let Some(old) = old {
                    old.go_on().await;
                }
                self.dismiss(Some(new));
                return event;
            }
        };
        match ready {
            Ok(()) => {
                self.swap_in(new);
                SlotEvent::Ready
            }
            Err(failure) => self.not_started(wish, &failure, false),
        }
    }

    fn begin(&self, wish: &Wish, stragglers: Stragglers, entrance: Entrance) -> Result<Current, StartFailure> {
        let spec = &wish.spec;
        let listeners = self
            .sockets
            .lend(&spec.worker_type, &spec.plugin, &spec.listen)
            .map_err(|error| StartFailure(error.to_string()))?;
        let (surroundings, gone) =
            (wish.side.surroundings.clone(), || StartFailure("its plugin is not loaded for it".to_owned()));
        let (spec, lent) = (Arc::clone(spec), listeners.clone());
        let worker = match spec.isolation {
            Isolation::Thread => {
                let generation = wish.generation.generation().ok_or_else(gone)?;
                Worker::spawn(generation, spec, lent, stragglers, surroundings, entrance)?
            }
            Isolation::Process(_) => {
                let version = wish.generation.version().ok_or_else(gone)?;
                mshost_isolation::spawn(version, spec, lent, surroundings, entrance)?
            }
        };
        let berth = wish.side.berth();
        Ok(Current { worker, made_from: wish.clone(), since: Instant::now(), berth, _listeners: listeners })
    }

    fn swap_in(&mut self, new: Current) {
        self.view.lock().running(&new.worker, &new.made_from);
        if self.refused.as_ref().is_some_and(|(_, before)| !before.is(&new.made_from)) {
            self.refused = None;
        }
        if self.state == SlotState::Replacing {
            self.count_swap(&new.made_from, "done");
        }
        let side = Arc::clone(&new.made_from.side);
        match self.current.replace(new) {
            // One that is broken is of no use to anybody there, nor is one that has handed its state over.
            Some(old)
                if self.state == SlotState::Replacing
                    && !Arc::ptr_eq(&old.made_from.side, &side)
                    && !old.made_from.keeps_state() =>
            {
                drop(self.drains.spawn(move_away(old)));
            }
            old => self.dismiss(old),
        }
    }

    fn count_swap(&self, wish: &Wish, outcome: &str) {
        wish.side.surroundings.metrics.swaps.with_label_values(&[&*self.slot.worker_type, outcome]).inc();
    }

    fn dismiss(&self, worker: Option<Current>) {
        if let Some(worker) = worker {
            self.drains.spawn(drain(worker));
        }
    }

    /// What was to be started is not. `for_good` where another try cannot help.
    fn not_started(&mut self, wish: Wish, failure: &StartFailure, for_good: bool) -> SlotEvent {
        match &self.current {
            Some(current) if self.state == SlotState::Replacing => {
                tracing::error!(target: TARGET, slot = %self.slot, generation = %wish.generation.id(),
                    "the new version does not take over, the old one goes on: {failure}");
                self.count_swap(&wish, "failed");
                self.view.lock().refused(failure);
                self.refused = Some((wish, current.made_from.clone()));
                SlotEvent::Failed
            }
            _ if for_good => self.park(&failure.0),
            _ => self.failed(&wish.spec, failure, None),
        }
    }

    /// Waits until the worker has to be replaced, for whatever reason.
    async fn watch_over(&mut self) -> SlotEvent {
        let (trouble, lived, spec) = loop {
            let Some(target) = self.target() else { return SlotEvent::Withdrawn };
            let stragglers = self.prepare(&target);
            let Some(current) = self.current.as_mut().filter(|current| current.made_from.is(&target)) else {
                return SlotEvent::Wished;
            };
            let spec = target.spec;
            tokio::select! {
                _ = self.wishes.changed() => {}
                Some(()) = self.asked.recv() => {
                    self.refused = None;
                    self.fresh = true;
                    return SlotEvent::RestartAsked;
                }
                () = stragglers.reached(spec.abandoned_threads) => {
                    if let Some(reason) = self.stuck() {
                        return self.park(&reason);
                    }
                }
                trouble = current.worker.trouble() => break (trouble, current.since.elapsed(), spec),
            }
        };
        let failure = match trouble {
            // It keeps its place, so that what comes for it waits instead of being refused.
            Trouble::Broken(failure) => failure,
            Trouble::Ended(failure) => {
                self.current = None;
                failure
            }
        };
        self.failed(&spec, &failure, Some(lived))
    }

    /// Decides whether there is another try. `lived` is how long a worker ran before it failed.
    fn failed(&mut self, spec: &WorkerSpec, failure: &StartFailure, lived: Option<Duration>) -> SlotEvent {
        let now = Instant::now();
        let Verdict::Again(wait) = self.restarts.failed(&spec.restart, now, lived) else {
            return self.park(&too_many_restarts(failure, spec));
        };
        tracing::error!(target: TARGET, slot = %self.slot, "{failure}; again in {:.1} s", wait.as_secs_f64());
        self.again_at = now + wait;
        self.view.lock().failed(failure);
        SlotEvent::Failed
    }

    fn park(&mut self, reason: &str) -> SlotEvent {
        let reason = format!(
            "{reason}. It starts again with a new file of the plugin, with a change of its entry in the topology, or by \
             `mshost restart '{}'`",
            self.slot
        );
        tracing::error!(target: TARGET, slot = %self.slot, "parked: {reason}");
        self.view.lock().failed(&StartFailure(reason));
        let broken = self.current.take();
        self.dismiss(broken);
        SlotEvent::GivenUp
    }

    /// Waits before the next try, unless somebody wants something first.
    async fn wait(&mut self) -> SlotEvent {
        let due = tokio::time::sleep_until(self.again_at.into());
        tokio::select! {
            event = self.somebody() => event,
            () = due => SlotEvent::WaitOver,
        }
    }

    /// Waits for somebody, and refuses the jobs of its type meanwhile where they are not to wait.
    async fn stay_parked(&mut self) -> SlotEvent {
        let reason = format!("{} is parked", self.slot);
        // Looked at, not taken note of: a wish that has come meanwhile is still news to `somebody`.
        let wish = self.wishes.borrow().clone();
        let fails = |wish: &Wish| wish.spec.parked == ParkedJobs::Fail && wish.side.surroundings.managed;
        let refusing = async {
            if let Some(wish) = wish.filter(fails) {
                refuse_jobs(&wish.spec, &wish.side.surroundings, &reason).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            event = self.somebody() => event,
            never = refusing => never,
        }
    }

    /// Waits for another wish, or for somebody who asks for a worker.
    async fn somebody(&mut self) -> SlotEvent {
        let event = tokio::select! {
            event = wished(&mut self.wishes) => event,
            Some(()) = self.asked.recv() => SlotEvent::RestartAsked,
        };
        self.refused = None;
        event
    }

    async fn leave(&mut self) -> SlotEvent {
        if let Some(current) = self.current.take() {
            drain(current).await;
        }
        SlotEvent::Left
    }

    /// What to run: the wish, or where it has been refused, what ran before. `None` once it is to be nothing.
    fn target(&mut self) -> Option<Wish> {
        let wish = wish(&mut self.wishes)?;
        match &self.refused {
            Some((refused, before)) if refused.is(&wish) => Some(before.clone()),
            _ => {
                // It would keep a version in memory that nobody wants any more.
                self.refused = None;
                Some(wish)
            }
        }
    }

    /// The count of the threads that the workers of a generation leave behind in this slot. Another version may do better.
    fn prepare(&mut self, wish: &Wish) -> Stragglers {
        let id = wish.generation.id();
        self.stragglers.retain(|(generation, count)| *generation == id || !count.is_empty());
        let known = self.stragglers.iter().find(|(generation, _)| *generation == id).map(|(_, count)| count.clone());
        let count = known.unwrap_or_else(|| {
            let count = Stragglers::default();
            self.stragglers.push((id, count.clone()));
            count
        });
        self.view.lock().preparing(wish, count.clone());
        count
    }

    /// Why a worker would be parked as soon as it ran, if it would.
    fn stuck(&self) -> Option<String> {
        self.view.lock().stuck()
    }
}

/// What is wished for now; `None` once the slot is to be empty. The supervisor dropping its end is a wish for nothing.
fn wish(wishes: &mut watch::Receiver<Option<Wish>>) -> Option<Wish> {
    let gone = wishes.has_changed().is_err();
    wishes.borrow_and_update().clone().filter(|_| !gone)
}

/// Waits for another wish. Cancel safe.
async fn wished(wishes: &mut watch::Receiver<Option<Wish>>) -> SlotEvent {
    let changed = wishes.changed().await;
    if changed.is_ok() && wishes.borrow().is_some() { SlotEvent::Wished } else { SlotEvent::Withdrawn }
}

/// Waits until a worker has its place, with the state of `old` where it takes that over.
async fn ready(worker: &mut Worker, old: Option<&Worker>, wish: &Wish, turns: &Turns) -> Result<(), StartFailure> {
    match old {
        Some(old) => {
            takeover::take_over(worker, old, &wish.spec.worker_type, turns, &wish.side.surroundings.metrics).await
        }
        None => worker.ready().await,
    }
}

fn too_many_restarts(failure: &dyn Display, spec: &WorkerSpec) -> String {
    let (most, window) = (spec.restart.max_restarts.unwrap_or_default(), spec.restart.window);
    format!("{failure}; it had {most} restarts within {} (`restart`)", humantime::format_duration(window))
}

/// Drains a worker whose successor is on another bus. Others may still need it on this one, so all leave together.
async fn move_away(mut current: Current) {
    let Some(leave) = current.made_from.side.leave() else { return drain(current).await };
    current.berth.release_slot();
    tokio::select! {
        () = leave.cancelled() => drain(current).await,
        // What it had in hand has gone back to its bus.
        _ = current.worker.ended() => {}
    }
}

/// Has a worker finish what it has in hand. Holds on to its generation and its sockets until it has left.
async fn drain(mut current: Current) {
    current.berth.release_slot();
    current.worker.stop();
    if let Err(failure) = current.worker.ended().await {
        tracing::warn!(target: TARGET, worker = %current.worker.id(), "did not leave in good order: {failure}");
    }
    drop(current);
}
