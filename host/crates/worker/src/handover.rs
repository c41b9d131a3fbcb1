//! How a worker hands its state to the one that takes its place, and goes on itself where that one fails.
//!
//! ```text
//! old   Running → HandingOver: takes no more of its type, finishes, tells its state, waits
//!                     └── goes on: Running           └── is stopped: Draining
//! new   Starting → Prepared: waits for the state, restores it, joins → Running
//! ```

use std::pin::Pin;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use mshost_plugin_host::StateSnapshot;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::pace::Share;
use super::state::StartFailure;

/// When a worker joins the bus, and for what.
#[derive(Debug, Clone)]
pub enum Entrance {
    /// As soon as it has started.
    AtOnce,
    /// When it is [admitted](super::Worker::admit).
    Admitted,
    /// As soon as it has started, for a share of the jobs.
    OnTrial(Share),
}

/// What a worker that runs is told.
pub enum Order {
    /// Stop taking jobs of the type, finish, and tell the state.
    HandOver(oneshot::Sender<Told>),
    /// Nobody takes over after all.
    GoOn,
}

/// What an order is answered with: the state, or why there is none.
pub type Told = Result<StateSnapshot, StartFailure>;

/// A handover under way.
pub(super) struct Handover {
    answer: Option<oneshot::Sender<Told>>,
    step: Step,
}

enum Step {
    /// The jobs in hand are finished; the deadline is when they go back.
    Finishing(Pin<Box<Sleep>>),
    /// The plugin makes the snapshot.
    Telling(LocalBoxFuture<'static, Told>),
    /// The successor has the state, and takes the place or not.
    Told,
}

pub(super) enum HandoverStep {
    /// What is still in hand must go back.
    TimedOut,
    /// The state has been told, or not; `true` where the worker is to go on.
    Told(bool),
}

impl Handover {
    pub(super) fn begin(answer: oneshot::Sender<Told>, limit: Duration) -> Self {
        Self { answer: Some(answer), step: Step::Finishing(Box::pin(tokio::time::sleep(limit))) }
    }

    /// Whether jobs may still be in hand: those for the worker's id come until then, since others may wait for them.
    pub(super) fn is_finishing(&self) -> bool {
        matches!(self.step, Step::Finishing(_))
    }

    /// No job is in hand: `snapshot` is what tells the state.
    pub(super) fn tell(&mut self, snapshot: LocalBoxFuture<'static, Told>) {
        self.step = Step::Telling(snapshot);
    }

    /// Waits for what happens next. Cancel safe.
    pub(super) async fn step(handover: &mut Option<Self>) -> HandoverStep {
        let Some(handover) = handover else { return std::future::pending().await };
        let told = match &mut handover.step {
            Step::Finishing(deadline) => {
                deadline.as_mut().await;
                return HandoverStep::TimedOut;
            }
            Step::Telling(telling) => telling.await,
            Step::Told => return std::future::pending().await,
        };
        handover.step = Step::Told;
        let failed = told.is_err();
        // Where nobody waits for the answer any more, nobody takes over.
        let unheard = handover.answer.take().is_none_or(|answer| answer.send(told).is_err());
        HandoverStep::Told(failed || unheard)
    }
}
