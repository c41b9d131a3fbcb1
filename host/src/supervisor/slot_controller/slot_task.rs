//! The task of a slot: one function for each state of the slot, which waits for what can happen then.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_core::ids::GenerationId;
use mshost_topology::{ParkedJobs, Slot, WorkerSpec};
use mshost_worker::{AbandonedThreads, Sockets, StartFailure, StartingTypes, WorkerFailure, refuse_parked_jobs};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::desired::Desired;
use super::restart_history::{RestartDecision, RestartHistory};
use super::running_worker::RunningWorker;
use super::slot_state::{SlotEvent, SlotState};
use super::slot_status::SlotStatus;
use super::start_expectation::StartExpectation;
use super::state_handover::HandoverQueue;

const TARGET: &str = "mshost::supervisor";

/// The state of one slot, owned by its task.
pub(super) struct SlotTask {
    pub(super) slot: Slot,
    pub(super) desired_changes: watch::Receiver<Option<Desired>>,
    restart_requests: mpsc::Receiver<()>,
    pub(super) environment: SlotEnvironment,
    pub(super) status: Arc<Mutex<SlotStatus>>,
    pub(super) state: SlotState,
    /// There while a worker runs, and while a broken one waits for the one that replaces it.
    pub(super) current: Option<RunningWorker>,
    /// A restart was requested: the next worker starts without the state of the one before.
    pub(super) discard_state: bool,
    /// A desired state that could not be reached while another worker ran. Only another one is tried.
    pub(super) rejected: Option<RejectedChange>,
    restarts: RestartHistory,
    /// When the next try is due.
    retry_at: Instant,
    /// The threads that each generation has abandoned in this slot.
    abandoned_threads: Vec<(GenerationId, AbandonedThreads)>,
    /// Where it announces that a worker is being started.
    expected: StartingTypes,
    expectation: StartExpectation,
}

/// What the controllers of all slots share.
#[derive(Clone)]
pub(crate) struct SlotEnvironment {
    /// The listening sockets, which outlive workers.
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) handovers: Arc<HandoverQueue>,
    /// The tasks of slots, and the drains of workers that have been replaced.
    pub(crate) tasks: TaskTracker,
}

/// A desired state that could not be reached, and what runs instead.
pub(super) struct RejectedChange {
    pub(super) desired: Desired,
    pub(super) running: Desired,
}

impl SlotTask {
    /// The task of a slot whose first worker is to be started.
    pub(super) fn new(
        slot: Slot,
        desired_changes: watch::Receiver<Option<Desired>>,
        restart_requests: mpsc::Receiver<()>,
        status: Arc<Mutex<SlotStatus>>,
        expected: StartingTypes,
        environment: SlotEnvironment,
    ) -> Self {
        let expectation = StartExpectation::Starting(expected.announce(slot.worker_type.clone()));
        Self {
            slot,
            desired_changes,
            restart_requests,
            environment,
            status,
            state: SlotState::Starting,
            current: None,
            discard_state: false,
            rejected: None,
            restarts: RestartHistory::default(),
            retry_at: Instant::now(),
            abandoned_threads: Vec::new(),
            expected,
            expectation,
        }
    }

    /// Runs until the slot is empty.
    pub(super) async fn run(mut self) {
        loop {
            let event = match self.state {
                SlotState::Starting | SlotState::Replacing => self.start().await,
                SlotState::Running => self.watch_worker().await,
                SlotState::Backoff => self.back_off().await,
                SlotState::Parked => self.stay_parked().await,
                SlotState::Leaving => self.leave().await,
                SlotState::Empty => break,
            };
            self.enter(event);
        }
    }

    fn enter(&mut self, event: SlotEvent) {
        if matches!(event, SlotEvent::DesiredChanged | SlotEvent::RestartRequested) {
            // An operator has done something about whatever failed before.
            self.restarts.reset();
        }
        match self.state.after(event) {
            Ok(state) => self.state = state,
            Err(error) => {
                debug_assert!(false, "{error}");
                tracing::error!(target: TARGET, slot = %self.slot, "a bug in the host: {error}");
            }
        }
        self.status.lock().enter(self.state);
        let desired = self.desired_changes.borrow();
        let start_timeout = desired.as_ref().map_or(Duration::ZERO, |desired| desired.spec.start_timeout);
        drop(desired);
        let announce = || self.expected.announce(self.slot.worker_type.clone());
        self.expectation =
            std::mem::take(&mut self.expectation).after(self.state, self.current.is_some(), start_timeout, announce);
    }

    /// Waits until the worker has to be replaced, for whatever reason.
    async fn watch_worker(&mut self) -> SlotEvent {
        let (trouble, lived, spec) = loop {
            let Some(target) = self.target() else { return SlotEvent::Withdrawn };
            let abandoned = self.abandoned_threads_of(&target);
            let Some(current) = self.current.as_mut().filter(|current| current.made_from.is_met_by(&target)) else {
                return SlotEvent::DesiredChanged;
            };
            let spec = target.spec;
            tokio::select! {
                _ = self.desired_changes.changed() => {}
                Some(()) = self.restart_requests.recv() => {
                    self.rejected = None;
                    self.discard_state = true;
                    return SlotEvent::RestartRequested;
                }
                () = abandoned.reached(spec.abandoned_threads) => {
                    if let Some(reason) = self.blocked_by_threads() {
                        return self.park(&reason);
                    }
                }
                trouble = current.worker.failure() => break (trouble, current.since.elapsed(), spec),
            }
        };
        let failure = match trouble {
            // It keeps its consumers, so that jobs wait instead of being refused.
            WorkerFailure::Broken(failure) => failure,
            WorkerFailure::Ended(failure) => {
                self.current = None;
                failure
            }
        };
        self.failed(&spec, &failure, Some(lived))
    }

    /// Decides whether there is another try. `lived` is how long a worker ran before it failed.
    pub(super) fn failed(&mut self, spec: &WorkerSpec, failure: &StartFailure, lived: Option<Duration>) -> SlotEvent {
        let now = Instant::now();
        let RestartDecision::After(wait) = self.restarts.failed(&spec.restart, now, lived) else {
            return self.park(&too_many_restarts(failure, spec));
        };
        tracing::error!(target: TARGET, slot = %self.slot, "{failure}; again in {:.1} s", wait.as_secs_f64());
        self.retry_at = now + wait;
        self.status.lock().failed(failure);
        SlotEvent::Failed
    }

    /// Gives the slot up until an operator acts.
    pub(super) fn park(&mut self, reason: &str) -> SlotEvent {
        let reason = format!(
            "{reason}. It starts again with a new file of the plugin, with a change of its entry in the topology, or by \
             `mshost restart '{}'`",
            self.slot
        );
        tracing::error!(target: TARGET, slot = %self.slot, "parked: {reason}");
        self.status.lock().failed(&StartFailure(reason));
        let broken = self.current.take();
        self.drain_in_background(broken);
        SlotEvent::GivenUp
    }

    /// Drains a worker that has been replaced, without waiting for it.
    pub(super) fn drain_in_background(&self, worker: Option<RunningWorker>) {
        if let Some(worker) = worker {
            self.environment.tasks.spawn(worker.drain());
        }
    }

    /// Waits before the next try, unless an operator acts first.
    async fn back_off(&mut self) -> SlotEvent {
        let due = tokio::time::sleep_until(self.retry_at.into());
        tokio::select! {
            event = self.operator_action() => event,
            () = due => SlotEvent::BackoffElapsed,
        }
    }

    /// Waits until an operator acts, and refuses the jobs of the type meanwhile where they are not to wait.
    async fn stay_parked(&mut self) -> SlotEvent {
        let reason = format!("{} is parked", self.slot);
        // Borrowed without marking it as seen: a change that has come meanwhile is still news to `operator_action`.
        let desired = self.desired_changes.borrow().clone();
        let fails = |desired: &Desired| desired.spec.parked == ParkedJobs::Fail && desired.session.host_context.managed;
        let refusing = async {
            if let Some(desired) = desired.filter(fails) {
                refuse_parked_jobs(&desired.spec, &desired.session.host_context, &reason).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            event = self.operator_action() => event,
            never = refusing => never,
        }
    }

    /// Waits for another desired state, or for a request to restart the worker.
    async fn operator_action(&mut self) -> SlotEvent {
        let event = tokio::select! {
            event = desired_changed(&mut self.desired_changes) => event,
            Some(()) = self.restart_requests.recv() => SlotEvent::RestartRequested,
        };
        self.rejected = None;
        event
    }

    async fn leave(&mut self) -> SlotEvent {
        if let Some(current) = self.current.take() {
            current.drain().await;
        }
        SlotEvent::Drained
    }

    /// What to run: the desired state, or where that has been rejected, what ran before. `None` once it is to be nothing.
    pub(super) fn target(&mut self) -> Option<Desired> {
        let desired = desired_now(&mut self.desired_changes)?;
        match &self.rejected {
            Some(rejected) if rejected.desired.is_met_by(&desired) => Some(rejected.running.clone()),
            _ => {
                // It would keep a version in memory that is not desired any more.
                self.rejected = None;
                Some(desired)
            }
        }
    }

    /// The count of the threads that a generation's workers abandon in this slot. Another generation may do better.
    pub(super) fn abandoned_threads_of(&mut self, desired: &Desired) -> AbandonedThreads {
        let id = desired.generation.id();
        self.abandoned_threads.retain(|(generation, count)| *generation == id || !count.is_empty());
        let mut known = self.abandoned_threads.iter();
        let known = known.find(|(generation, _)| *generation == id).map(|(_, count)| count.clone());
        let count = known.unwrap_or_else(|| {
            let count = AbandonedThreads::default();
            self.abandoned_threads.push((id, count.clone()));
            count
        });
        self.status.lock().preparing(desired, count.clone());
        count
    }

    /// Why a worker would be parked as soon as it ran, if it would.
    pub(super) fn blocked_by_threads(&self) -> Option<String> {
        self.status.lock().blocked_by_threads()
    }
}

/// What is desired now; `None` once the slot is to be empty. A controller that is dropped desires nothing.
fn desired_now(changes: &mut watch::Receiver<Option<Desired>>) -> Option<Desired> {
    let gone = changes.has_changed().is_err();
    changes.borrow_and_update().clone().filter(|_| !gone)
}

/// Waits for another desired state. Cancel safe.
pub(super) async fn desired_changed(changes: &mut watch::Receiver<Option<Desired>>) -> SlotEvent {
    let changed = changes.changed().await;
    if changed.is_ok() && changes.borrow().is_some() { SlotEvent::DesiredChanged } else { SlotEvent::Withdrawn }
}

fn too_many_restarts(failure: &dyn Display, spec: &WorkerSpec) -> String {
    let (most, window) = (spec.restart.max_restarts.unwrap_or_default(), spec.restart.window);
    format!("{failure}; it had {most} restarts within {} (`restart`)", humantime::format_duration(window))
}
