//! The phases of a worker, from its start to its end, and the only steps between them.
//!
//! ```text
//! Starting ─▶ Prepared ─▶ Running ─▶ Draining ─▶ Leaving ─▶ Stopped, or Failed
//!                          │   ▲         ▲
//!                          ▼   │         │
//!      Pausing ─▶ Finishing ─▶ Snapshotting ─▶ HandedOver        Broken (its plugin panicked)
//! ```
//!
//! A phase owns what it alone needs. [`WorkerPhase::after`] is the whole table; what is to be done beside the step is the
//! [`PhaseEffect`] that it returns. How the consumer is to take jobs follows from the phase ([`WorkerPhase::consume_mode`]), so that no
//! step waits for the bus.

use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use mshost_plugin_host::StateSnapshot;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::consumer_driver::ConsumeMode;
use super::worker_state::{StartFailure, WorkerState};

/// A worker's state for the worker that takes its place, or why there is none.
pub type SnapshotResult = Result<StateSnapshot, StartFailure>;

/// What a worker is doing.
#[derive(Default)]
pub(super) enum WorkerPhase {
    /// The plugin makes it, and it joins the bus.
    #[default]
    Starting,
    /// The plugin has made it, and it waits to be admitted to the bus.
    Prepared,
    /// It takes jobs.
    Running,
    /// It is to hand over its state, and its consumer is being paused.
    Pausing { answer: oneshot::Sender<SnapshotResult> },
    /// It takes no jobs of its type and finishes those in hand, which go back to the queue at the deadline. Those for its id
    /// still come, since other workers may wait for them.
    Finishing { answer: oneshot::Sender<SnapshotResult>, deadline: Pin<Box<Sleep>> },
    /// No job is in hand, and the plugin makes the snapshot. `answer` is there until it is made.
    Snapshotting { answer: Option<oneshot::Sender<SnapshotResult>>, snapshot: LocalBoxFuture<'static, SnapshotResult> },
    /// The successor has the state, and either replaces this worker or fails.
    HandedOver,
    /// Its plugin panicked, so that its state may be wrong. It finishes what it has, and waits for its replacement. It stays a
    /// consumer, paused, so that jobs wait for the replacement or go to other workers, instead of being refused.
    Broken(StartFailure),
    /// It takes no more jobs of its type and finishes those in hand, which go back to the queue at the deadline.
    Draining { deadline: Pin<Box<Sleep>> },
    /// Its consumer stops; then what is still in hand goes back to the queue.
    Leaving(Result<(), StartFailure>),
    /// It has left the bus, as it was told to.
    Stopped,
    /// It did not start, or could not go on.
    Failed(StartFailure),
}

/// What happens to a worker.
pub(super) enum PhaseEvent {
    /// The plugin has made it, and it may not join the bus by itself.
    Prepared,
    /// It has joined the bus.
    Joined,
    /// Its state is asked for. Where this is not the time for it, the answer is dropped, which the other end sees.
    HandOverRequested(oneshot::Sender<SnapshotResult>),
    /// No other worker takes its place after all.
    ResumeRequested,
    /// Its consumer has been paused.
    Paused,
    /// No job is in hand any more. With what makes the snapshot.
    JobsFinished(LocalBoxFuture<'static, SnapshotResult>),
    /// The successor has the snapshot.
    SnapshotDelivered,
    /// There is no snapshot, or it is not waited for any more.
    SnapshotLost,
    /// Its plugin panicked.
    Panicked(StartFailure),
    /// It is to drain and leave.
    StopRequested,
    /// The deadline of its phase has passed.
    DeadlineElapsed,
    /// Neither a job nor anything that its plugin began by itself is left.
    Drained,
    /// The bus was closed under it.
    BusClosed,
    /// It has left the bus, and its plugin has dropped it.
    Left,
    /// It cannot start.
    StartFailed(StartFailure),
}

/// What is to be done beside a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PhaseEffect {
    /// Nothing.
    None,
    /// The plugin is to finish what it has begun by itself.
    DrainPlugin,
    /// The jobs in hand are overdue: they go back to the queue.
    HandBackJobs,
    /// The jobs in hand are overdue: they go back once the consumer has stopped.
    ReportOverdueJobs,
}

/// A step that is not in the table: a mistake of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a worker in the phase {phase} cannot take the step {event}")]
pub(super) struct NoSuchPhaseStep {
    phase: &'static str,
    event: &'static str,
}

impl WorkerPhase {
    /// The phase after an event, and what is to be done beside it. After an event that is not in the table the phase is as it
    /// was. `drain_timeout` is how long jobs in hand may take to end.
    pub(super) fn after(
        self,
        event: PhaseEvent,
        drain_timeout: Duration,
    ) -> (Self, Result<PhaseEffect, NoSuchPhaseStep>) {
        use PhaseEvent as E;
        let deadline = || Box::pin(tokio::time::sleep(drain_timeout));
        let next = match (self, event) {
            (Self::Starting, E::Prepared) => Self::Prepared,
            (Self::Starting | Self::Prepared, E::Joined) => Self::Running,
            // It has nothing to finish.
            (Self::Starting | Self::Prepared, E::Left) => Self::Stopped,
            (Self::Starting | Self::Prepared, E::StartFailed(failure)) => Self::Failed(failure),

            (Self::Running, E::HandOverRequested(answer)) => Self::Pausing { answer },
            (phase, E::HandOverRequested(_)) if phase.is_serving() => phase,
            (Self::Pausing { answer }, E::Paused) => Self::Finishing { answer, deadline: deadline() },
            (phase @ Self::Finishing { .. }, E::DeadlineElapsed) => return (phase, Ok(PhaseEffect::HandBackJobs)),
            (Self::Finishing { answer, .. }, E::JobsFinished(snapshot)) => {
                Self::Snapshotting { answer: Some(answer), snapshot }
            }
            (Self::Snapshotting { .. }, E::SnapshotDelivered) => Self::HandedOver,
            (Self::Snapshotting { .. }, E::SnapshotLost) => Self::Running,
            (phase, E::ResumeRequested) if phase.is_handing_over() => Self::Running,
            (phase, E::ResumeRequested) if phase.is_serving() => phase,

            (phase, E::Panicked(failure)) if phase.is_handing_over() => Self::Broken(failure),
            (Self::Running, E::Panicked(failure)) => Self::Broken(failure),
            (phase @ (Self::Draining { .. } | Self::Leaving(_)), E::Panicked(_)) => phase,

            (phase @ Self::Leaving(_), E::StopRequested) => phase,
            (phase, E::StopRequested) if phase.is_serving() && !matches!(phase, Self::Draining { .. }) => {
                return (Self::Draining { deadline: deadline() }, Ok(PhaseEffect::DrainPlugin));
            }
            (Self::Draining { .. }, E::Drained) => Self::Leaving(Ok(())),
            (Self::Draining { .. }, E::DeadlineElapsed) => {
                return (Self::Leaving(Ok(())), Ok(PhaseEffect::ReportOverdueJobs));
            }
            (phase, E::BusClosed) if phase.is_serving() && !matches!(phase, Self::Leaving(_)) => {
                Self::Leaving(Err(StartFailure("the bus was closed".to_owned())))
            }
            (Self::Leaving(Ok(())), E::Left) => Self::Stopped,
            (Self::Leaving(Err(failure)), E::Left) => Self::Failed(failure),

            (phase, event) => {
                let refused = NoSuchPhaseStep { phase: phase.name(), event: event.name() };
                return (phase, Err(refused));
            }
        };
        (next, Ok(PhaseEffect::None))
    }

    /// What others see of it.
    pub(super) fn state(&self) -> WorkerState {
        match self {
            Self::Starting => WorkerState::Starting,
            Self::Prepared => WorkerState::Prepared,
            Self::Running => WorkerState::Running,
            Self::Pausing { .. } | Self::Finishing { .. } | Self::Snapshotting { .. } | Self::HandedOver => {
                WorkerState::HandingOver
            }
            Self::Broken(failure) => WorkerState::Broken(failure.clone()),
            Self::Draining { .. } | Self::Leaving(_) => WorkerState::Draining,
            Self::Stopped => WorkerState::Stopped,
            Self::Failed(failure) => WorkerState::Failed(failure.clone()),
        }
    }

    /// How the consumer should take jobs. One that `has_its_share` leaves those of its type to others for now.
    pub(super) fn consume_mode(&self, has_its_share: bool) -> ConsumeMode {
        match self {
            Self::Starting | Self::Prepared | Self::Running if !has_its_share => ConsumeMode::Active,
            Self::Starting
            | Self::Prepared
            | Self::Running
            | Self::Pausing { .. }
            | Self::Finishing { .. }
            | Self::Snapshotting { .. }
            | Self::HandedOver
            | Self::Broken(_) => ConsumeMode::Paused,
            Self::Draining { .. } => ConsumeMode::OwnQueueOnly,
            Self::Leaving(_) | Self::Stopped | Self::Failed(_) => ConsumeMode::Stopped,
        }
    }

    /// Whether a job may be begun. A snapshot is of a worker that does nothing.
    pub(super) fn may_begin_jobs(&self) -> bool {
        !matches!(self, Self::Snapshotting { .. } | Self::HandedOver | Self::Leaving(_))
    }

    /// Waits for what the phase itself brings about. Pending where that is nothing. Cancel safe.
    pub(super) async fn next_event(&mut self) -> PhaseEvent {
        match self {
            Self::Finishing { deadline, .. } | Self::Draining { deadline } => {
                deadline.as_mut().await;
                PhaseEvent::DeadlineElapsed
            }
            Self::Snapshotting { answer, snapshot } => {
                let result = snapshot.await;
                let is_there = result.is_ok();
                let is_heard = answer.take().is_some_and(|answer| answer.send(result).is_ok());
                if is_there && is_heard { PhaseEvent::SnapshotDelivered } else { PhaseEvent::SnapshotLost }
            }
            _ => pending().await,
        }
    }

    /// Whether it has joined the bus and not left it.
    fn is_serving(&self) -> bool {
        matches!(self, Self::Running | Self::Broken(_) | Self::Draining { .. } | Self::Leaving(_))
            || self.is_handing_over()
    }

    fn is_handing_over(&self) -> bool {
        matches!(self, Self::Pausing { .. } | Self::Finishing { .. } | Self::Snapshotting { .. } | Self::HandedOver)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Prepared => "Prepared",
            Self::Running => "Running",
            Self::Pausing { .. } => "Pausing",
            Self::Finishing { .. } => "Finishing",
            Self::Snapshotting { .. } => "Snapshotting",
            Self::HandedOver => "HandedOver",
            Self::Broken(_) => "Broken",
            Self::Draining { .. } => "Draining",
            Self::Leaving(_) => "Leaving",
            Self::Stopped => "Stopped",
            Self::Failed(_) => "Failed",
        }
    }
}

impl PhaseEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Prepared => "Prepared",
            Self::Joined => "Joined",
            Self::HandOverRequested(_) => "HandOverRequested",
            Self::ResumeRequested => "ResumeRequested",
            Self::Paused => "Paused",
            Self::JobsFinished(_) => "JobsFinished",
            Self::SnapshotDelivered => "SnapshotDelivered",
            Self::SnapshotLost => "SnapshotLost",
            Self::Panicked(_) => "Panicked",
            Self::StopRequested => "StopRequested",
            Self::DeadlineElapsed => "DeadlineElapsed",
            Self::Drained => "Drained",
            Self::BusClosed => "BusClosed",
            Self::Left => "Left",
            Self::StartFailed(_) => "StartFailed",
        }
    }
}

impl fmt::Debug for WorkerPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;

    use super::*;

    const DRAIN: Duration = Duration::from_secs(30);

    #[rustfmt::skip]
    const PHASES: [&str; 13] = [
        "Starting", "Prepared", "Running", "Pausing", "Finishing", "Snapshotting", "HandedOver", "Broken", "Draining",
        "Leaving", "Leaving: why", "Stopped", "Failed",
    ];

    #[rustfmt::skip]
    const EVENTS: [&str; 15] = [
        "Prepared", "Joined", "HandOverRequested", "ResumeRequested", "Paused", "JobsFinished", "SnapshotDelivered",
        "SnapshotLost", "Panicked", "StopRequested", "DeadlineElapsed", "Drained", "BusClosed", "Left", "StartFailed",
    ];

    /// A row for each phase, a column for each event, in the order of the lists. `=` stays, `-` is no step.
    #[rustfmt::skip]
    const TABLE: [[&str; 15]; 13] = [
        ["Prepared", "Running", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "Stopped", "Failed"],
        ["-", "Running", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "Stopped", "Failed"],
        ["-", "-", "Pausing", "=", "-", "-", "-", "-", "Broken", "Draining, DrainPlugin", "-", "-", "Leaving: the bus was closed", "-", "-"],
        ["-", "-", "=", "Running", "Finishing", "-", "-", "-", "Broken", "Draining, DrainPlugin", "-", "-", "Leaving: the bus was closed", "-", "-"],
        ["-", "-", "=", "Running", "-", "Snapshotting", "-", "-", "Broken", "Draining, DrainPlugin", "=, HandBackJobs", "-", "Leaving: the bus was closed", "-", "-"],
        ["-", "-", "=", "Running", "-", "-", "HandedOver", "Running", "Broken", "Draining, DrainPlugin", "-", "-", "Leaving: the bus was closed", "-", "-"],
        ["-", "-", "=", "Running", "-", "-", "-", "-", "Broken", "Draining, DrainPlugin", "-", "-", "Leaving: the bus was closed", "-", "-"],
        ["-", "-", "=", "=", "-", "-", "-", "-", "-", "Draining, DrainPlugin", "-", "-", "Leaving: the bus was closed", "-", "-"],
        ["-", "-", "=", "=", "-", "-", "-", "-", "=", "-", "Leaving, ReportOverdueJobs", "Leaving", "Leaving: the bus was closed", "-", "-"],
        ["-", "-", "=", "=", "-", "-", "-", "-", "=", "=", "-", "-", "-", "Stopped", "-"],
        ["-", "-", "=", "=", "-", "-", "-", "-", "=", "=", "-", "-", "-", "Failed", "-"],
        ["-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"],
        ["-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"],
    ];

    fn why() -> StartFailure {
        StartFailure("why".to_owned())
    }

    fn answer() -> oneshot::Sender<SnapshotResult> {
        oneshot::channel().0
    }

    fn deadline() -> Pin<Box<Sleep>> {
        Box::pin(tokio::time::sleep(DRAIN))
    }

    fn phase(name: &str) -> WorkerPhase {
        match name {
            "Starting" => WorkerPhase::Starting,
            "Prepared" => WorkerPhase::Prepared,
            "Running" => WorkerPhase::Running,
            "Pausing" => WorkerPhase::Pausing { answer: answer() },
            "Finishing" => WorkerPhase::Finishing { answer: answer(), deadline: deadline() },
            "Snapshotting" => WorkerPhase::Snapshotting { answer: Some(answer()), snapshot: pending().boxed_local() },
            "HandedOver" => WorkerPhase::HandedOver,
            "Broken" => WorkerPhase::Broken(why()),
            "Draining" => WorkerPhase::Draining { deadline: deadline() },
            "Leaving" => WorkerPhase::Leaving(Ok(())),
            "Leaving: why" => WorkerPhase::Leaving(Err(why())),
            "Stopped" => WorkerPhase::Stopped,
            "Failed" => WorkerPhase::Failed(why()),
            other => unreachable!("{other}"),
        }
    }

    fn event(name: &str) -> PhaseEvent {
        match name {
            "Prepared" => PhaseEvent::Prepared,
            "Joined" => PhaseEvent::Joined,
            "HandOverRequested" => PhaseEvent::HandOverRequested(answer()),
            "ResumeRequested" => PhaseEvent::ResumeRequested,
            "Paused" => PhaseEvent::Paused,
            "JobsFinished" => PhaseEvent::JobsFinished(pending().boxed_local()),
            "SnapshotDelivered" => PhaseEvent::SnapshotDelivered,
            "SnapshotLost" => PhaseEvent::SnapshotLost,
            "Panicked" => PhaseEvent::Panicked(why()),
            "StopRequested" => PhaseEvent::StopRequested,
            "DeadlineElapsed" => PhaseEvent::DeadlineElapsed,
            "Drained" => PhaseEvent::Drained,
            "BusClosed" => PhaseEvent::BusClosed,
            "Left" => PhaseEvent::Left,
            "StartFailed" => PhaseEvent::StartFailed(why()),
            other => unreachable!("{other}"),
        }
    }

    fn name(phase: &WorkerPhase) -> String {
        match phase {
            WorkerPhase::Leaving(Err(failure)) => format!("Leaving: {failure}"),
            phase => phase.name().to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_pair_of_phase_and_event_is_a_step_of_the_table_or_refused() {
        for (before, row) in PHASES.into_iter().zip(TABLE) {
            assert_eq!(name(&phase(before)), before);
            for (event_name, wanted) in EVENTS.into_iter().zip(row) {
                assert_eq!(event(event_name).name(), event_name);
                let (after, effect) = phase(before).after(event(event_name), DRAIN);
                let step = match (&effect, name(&after)) {
                    (Err(_), after) => {
                        assert_eq!(after, before, "refused, it is as it was");
                        "-".to_owned()
                    }
                    (Ok(effect), after) => {
                        let to = if after == before { "=".to_owned() } else { after };
                        if *effect == PhaseEffect::None { to } else { format!("{to}, {effect:?}") }
                    }
                };
                assert_eq!(step, wanted, "{before}, {event_name}");
            }
        }
    }

    /// The table as a graph of Graphviz. Both ends of `Leaving` are one node.
    fn graph() -> String {
        let mut edges = std::collections::BTreeSet::new();
        for before in PHASES {
            for name in EVENTS {
                let (after, effect) = phase(before).after(event(name), DRAIN);
                let Ok(effect) = effect else { continue };
                let (from, to) = (phase(before).name(), after.name());
                if from != to || effect != PhaseEffect::None {
                    let beside = if effect == PhaseEffect::None { String::new() } else { format!(" / {effect:?}") };
                    edges.insert(format!("    {from} -> {to} [label=\"{name}{beside}\"];\n"));
                }
            }
        }
        format!("digraph worker_phases {{\n    rankdir=LR;\n{}}}\n", edges.into_iter().collect::<String>())
    }

    /// `SNAPSHOTS=overwrite` writes it anew.
    #[tokio::test(start_paused = true)]
    async fn the_graph_in_the_documentation_is_that_of_the_table() {
        snapbox::assert_data_eq!(graph(), snapbox::file!["../../../../docs/worker-phases.dot"].raw());
    }

    /// Whatever happened before, a worker that is stopped ends, and its consumer with it.
    #[tokio::test(start_paused = true)]
    async fn every_phase_leads_to_the_end_once_the_worker_is_stopped() {
        for before in PHASES {
            let mut stopping = phase(before).after(PhaseEvent::StopRequested, DRAIN).0;
            stopping = stopping.after(PhaseEvent::Drained, DRAIN).0;
            let end = stopping.after(PhaseEvent::Left, DRAIN).0;
            assert!(matches!(end, WorkerPhase::Stopped | WorkerPhase::Failed(_)), "{before}: {end:?}");
            assert_eq!(end.consume_mode(false), ConsumeMode::Stopped);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_as_long_as_the_jobs_may_take_to_end() {
        for (before, what) in [("Pausing", "Paused"), ("Running", "StopRequested")] {
            let mut after = phase(before).after(event(what), DRAIN).0;
            let began = tokio::time::Instant::now();
            assert_eq!(after.next_event().await.name(), "DeadlineElapsed");
            assert_eq!(began.elapsed().as_secs(), DRAIN.as_secs());
        }
    }

    #[tokio::test]
    async fn a_snapshot_that_cannot_be_had_or_is_not_waited_for_is_lost() {
        let snapshot = || Ok(StateSnapshot { schema: 1, bytes: Vec::new() });
        for (result, is_heard, wanted) in [
            (snapshot(), true, "SnapshotDelivered"),
            (snapshot(), false, "SnapshotLost"),
            (Err(why()), true, "SnapshotLost"),
        ] {
            let (answer, receiver) = oneshot::channel();
            let receiver = is_heard.then_some(receiver);
            let expect_ok = result.is_ok();
            let snapshot = async move { result }.boxed_local();
            let mut phase = WorkerPhase::Snapshotting { answer: Some(answer), snapshot };
            assert_eq!(phase.next_event().await.name(), wanted);
            if let Some(receiver) = receiver {
                assert_eq!(receiver.await.unwrap().is_ok(), expect_ok);
            }
        }
    }
}
