//! Keeps one slot of the plan as it should be: the smallest reconcile loop.
//!
//! The supervisor says what the slot should run; the keeper gets there by itself, however often the wish changes: it
//! starts the new worker, waits until it is ready, and only then drains the old one. A new worker that does not start
//! leaves the old one as it is. Each slot has a keeper of its own, so that one that hangs delays no other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::lease::Lease;
use super::view::{SlotState, SlotView};
use crate::admin::Complaint;
use crate::backoff::Backoff;
use crate::topology::{Slot, WorkerSpec};
use crate::worker::{Listeners, Sockets, StartFailure, Surroundings, Worker};

const TARGET: &str = "mshost::supervisor";

/// How long to wait before a worker is started again, at first and at most.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A worker that ran for so long starts anew with the shortest wait.
const STEADY: Duration = Duration::from_secs(60);

/// What a slot should run.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) spec: Arc<WorkerSpec>,
    pub(super) generation: Lease,
}

impl Wish {
    fn is(&self, other: &Self) -> bool {
        self.spec == other.spec && self.generation.id() == other.generation.id()
    }
}

/// The supervisor's end of a keeper. Dropping it, or wishing for nothing, drains the slot.
#[derive(Debug)]
pub(super) struct Keeper {
    wish: watch::Sender<Option<Wish>>,
    view: Arc<Mutex<SlotView>>,
}

impl Keeper {
    /// A keeper for a slot; it runs on `tasks` until the slot is empty again.
    pub(super) fn spawn(
        slot: Slot,
        first: Wish,
        surroundings: Surroundings,
        sockets: Arc<Sockets>,
        tasks: &TaskTracker,
    ) -> Self {
        let view = Arc::new(Mutex::new(SlotView::new(slot.clone(), &first)));
        let (wish, wishes) = watch::channel(Some(first));
        let keeping = Keeping {
            slot,
            wishes,
            surroundings,
            sockets,
            view: Arc::clone(&view),
            current: None,
            refused: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, 0.25),
            drains: tasks.clone(),
        };
        tasks.spawn(keeping.keep());
        Self { wish, view }
    }

    /// Changes what the slot should run.
    pub(super) fn wish(&self, wish: Wish) {
        self.wish.send_replace(Some(wish));
    }

    /// How the slot is doing, live.
    pub(super) fn view(&self) -> Arc<Mutex<SlotView>> {
        Arc::clone(&self.view)
    }
}

/// A worker that runs, and what it was made from.
struct Current {
    worker: Worker,
    made_from: Wish,
    since: Instant,
    // Keeps the sockets bound while the worker lives.
    _listeners: Listeners,
}

struct Keeping {
    slot: Slot,
    wishes: watch::Receiver<Option<Wish>>,
    surroundings: Surroundings,
    sockets: Arc<Sockets>,
    view: Arc<Mutex<SlotView>>,
    current: Option<Current>,
    /// A wish that could not be met while another worker ran, and what ran then. Only another wish is tried again.
    refused: Option<(Wish, Wish)>,
    backoff: Backoff,
    drains: TaskTracker,
}

impl Keeping {
    async fn keep(mut self) {
        loop {
            // The supervisor dropping its end is a wish for nothing.
            let gone = self.wishes.has_changed().is_err();
            let wish = self.wishes.borrow_and_update().clone().filter(|_| !gone);
            let Some(wish) = wish else { break };
            let target = self.target(wish);
            match &self.current {
                Some(current) if current.made_from.is(&target) => self.watch_over().await,
                _ => self.fulfil(target).await,
            }
        }
        if let Some(current) = self.current.take() {
            drain(current).await;
        }
    }

    /// What to run: the wish, or where it has been refused, what ran before.
    fn target(&self, wish: Wish) -> Wish {
        match &self.refused {
            Some((refused, before)) if refused.is(&wish) => before.clone(),
            _ => wish,
        }
    }

    /// Waits for another wish, or for the worker to end by itself.
    async fn watch_over(&mut self) {
        let Some(current) = &mut self.current else { return };
        let end = tokio::select! {
            _ = self.wishes.changed() => return,
            end = current.worker.ended() => end,
        };
        let lived = current.since.elapsed();
        self.current = None;
        if lived > STEADY {
            self.backoff.reset();
        }
        let failure = end.err().unwrap_or_else(|| StartFailure("it stopped by itself".to_owned()));
        self.set_back(&failure).await;
    }

    /// Starts what is wished for and swaps it in.
    async fn fulfil(&mut self, wish: Wish) {
        self.view.lock().starting(&wish, self.current.is_some());
        let started = match self.begin(&wish) {
            Err(failure) => Err(failure),
            Ok((mut worker, listeners)) => tokio::select! {
                ready = worker.ready() => ready.map(|()| (worker, listeners)),
                _ = self.wishes.changed() => {
                    // Somebody wants something else by now.
                    worker.stop();
                    return;
                }
            },
        };
        match started {
            Ok((worker, listeners)) => self.swap_in(worker, wish, listeners),
            Err(failure) => match &self.current {
                Some(current) => {
                    tracing::error!(target: TARGET, slot = %self.slot, generation = %wish.generation.id(),
                        "the new version did not start, the old one goes on: {failure}");
                    self.view.lock().refused(&failure);
                    self.refused = Some((wish, current.made_from.clone()));
                }
                None => self.set_back(&failure).await,
            },
        }
    }

    fn begin(&self, wish: &Wish) -> Result<(Worker, Listeners), StartFailure> {
        let spec = &wish.spec;
        let listeners = self
            .sockets
            .lend(&spec.worker_type, &spec.plugin, &spec.listen)
            .map_err(|error| StartFailure(error.to_string()))?;
        let worker = Worker::spawn(&wish.generation, Arc::clone(spec), listeners.clone(), self.surroundings.clone())?;
        Ok((worker, listeners))
    }

    fn swap_in(&mut self, worker: Worker, wish: Wish, listeners: Listeners) {
        self.view.lock().running(&worker, &wish);
        if self.refused.as_ref().is_some_and(|(_, before)| !before.is(&wish)) {
            self.refused = None;
        }
        let new = Current { worker, made_from: wish, since: Instant::now(), _listeners: listeners };
        if let Some(old) = self.current.replace(new) {
            self.drains.spawn(drain(old));
        }
    }

    /// Nothing runs: waits before the next try, unless another wish comes first.
    async fn set_back(&mut self, failure: &StartFailure) {
        let wait = self.backoff.next_wait();
        tracing::error!(target: TARGET, slot = %self.slot, "{failure}; again in {:.1} s", wait.as_secs_f64());
        self.view.lock().failed(failure);
        tokio::select! {
            changed = self.wishes.changed() => if changed.is_ok() { self.backoff.reset() },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Has a worker finish what it has in hand. Holds on to its generation and its sockets until it has left.
async fn drain(mut current: Current) {
    current.worker.stop();
    if let Err(failure) = current.worker.ended().await {
        tracing::warn!(target: TARGET, worker = %current.worker.id(), "did not leave in good order: {failure}");
    }
    drop(current);
}

/// The states that [`SlotView`] shows, from what the keeper does.
impl SlotView {
    fn starting(&mut self, wish: &Wish, running: bool) {
        if !running {
            self.enter(SlotState::Starting);
            self.generation = wish.generation.id();
        }
    }

    fn running(&mut self, worker: &Worker, wish: &Wish) {
        if self.worker.is_some() || self.state == SlotState::Failed {
            self.restarts += 1;
        }
        self.worker = Some(worker.id().clone());
        self.progress = Some(worker.progress());
        self.addresses = worker.addresses().clone();
        self.generation = wish.generation.id();
        self.last_error = None;
        self.enter(SlotState::Running);
    }

    fn refused(&mut self, failure: &StartFailure) {
        self.last_error = Some(Complaint::now(failure));
    }

    fn failed(&mut self, failure: &StartFailure) {
        self.worker = None;
        self.progress = None;
        self.last_error = Some(Complaint::now(failure));
        self.enter(SlotState::Failed);
    }
}
