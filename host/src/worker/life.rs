//! A worker's life, as one local task on a lane of its generation.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::alarm::Alarm;
use super::attempt::{Outcome, attempt, header};
use super::counters::Counters;
use super::handle::Progress;
use super::outbox::Outbox;
use super::state::{StartFailure, WorkerEvent, WorkerState};
use super::switchboard::{Mail, Mailbox};
use super::{Listeners, Stragglers, Surroundings};
use crate::bus::{Announcement, Consumer, ConsumerOptions, Delivery, Notification};
use crate::ids::{WorkerId, WorkerRef};
use crate::plugin::{Instance, Lane};
use crate::topology::WorkerSpec;

const TARGET: &str = "mshost::worker";

/// How long a plugin's `stop` may take before its worker is dropped.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What is needed to do and settle jobs.
pub(super) struct Hands {
    pub(super) worker: WorkerRef,
    pub(super) spec: Arc<WorkerSpec>,
    pub(super) surroundings: Surroundings,
    pub(super) counters: Arc<Counters>,
    pub(super) alarm: Alarm,
}

/// What the keeper of its slot lends to a worker.
pub(super) struct Lent {
    pub(super) listeners: Listeners,
    pub(super) stragglers: Stragglers,
}

/// Everything that a worker is before it has a lane to live on.
pub(super) struct Life {
    hands: Arc<Hands>,
    lent: Lent,
    state: watch::Sender<WorkerState>,
    progress: Arc<Progress>,
    stop: CancellationToken,
}

impl Life {
    pub(super) fn new(
        id: WorkerId,
        spec: Arc<WorkerSpec>,
        lent: Lent,
        surroundings: Surroundings,
        state: watch::Sender<WorkerState>,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> Self {
        let counters = Arc::new(Counters::new(&surroundings.metrics, &spec.worker_type));
        let worker = WorkerRef { id, worker_type: spec.worker_type.clone() };
        let hands = Hands { worker, spec, surroundings, counters, alarm: Alarm::default() };
        Self { hands: Arc::new(hands), lent, state, progress, stop }
    }

    /// Lives, from start to end.
    pub(super) async fn live(self, lane: Lane) {
        let started = tokio::select! {
            started = self.start(&lane) => started.map(Some),
            () = self.stop.cancelled() => Ok(None),
        };
        let end = match started {
            Ok(Some(running)) => {
                self.step(WorkerEvent::Ready);
                self.run(running).await
            }
            Ok(None) => Ok(()),
            Err(failure) => Err(failure),
        };
        self.step(end.map_or_else(WorkerEvent::Failed, |()| WorkerEvent::Left));
    }

    async fn start(&self, lane: &Lane) -> Result<Running, StartFailure> {
        let Hands { worker, spec, surroundings, counters, alarm } = &*self.hands;
        let outbox = Arc::new(Outbox {
            worker: worker.clone(),
            surroundings: surroundings.clone(),
            counters: Arc::clone(counters),
            listeners: self.lent.listeners.clone(),
            stragglers: self.lent.stragglers.clone(),
            alarm: alarm.clone(),
            deadline: spec.deadline,
        });
        let instance = tokio::time::timeout(
            spec.start_timeout,
            lane.start(&spec.worker_type, &spec.config, spec.concurrency, outbox),
        )
        .await
        .map_err(|_| StartFailure(start_overran(spec.start_timeout)))?
        .map_err(|error| StartFailure(error.message))?;
        surroundings.switchboard.listening().await;
        // Before the queues: whoever hears of this worker may report failures to it.
        let mailbox = surroundings.switchboard.register(&worker.id);
        let consumer = surroundings
            .bus
            .join(worker, ConsumerOptions { prefetch: spec.concurrency, durability: Some(spec.durability) })
            .await
            .map_err(|error| StartFailure(format!("cannot join the bus: {error}")))?;
        self.announce(false).await;
        Ok(Running { instance, mailbox, consumer })
    }

    async fn run(&self, running: Running) -> Result<(), StartFailure> {
        let Running { instance, mut mailbox, mut consumer } = running;
        let mut jobs = FuturesUnordered::new();
        let mut errands = FuturesUnordered::new();
        let mut drain: Option<Drain> = None;
        let closing = &self.hands.surroundings.closing;
        let mut busy = Some(closing.busy());
        let (asked, stopped, broke) = (closing.asked(), self.stop.cancelled(), self.hands.alarm.raised());
        tokio::pin!(asked, stopped, broke);
        let mut broken = false;
        let (concurrency, limit) = (usize::from(self.hands.spec.concurrency), self.hands.spec.drain_timeout);
        let end = loop {
            if drain.as_ref().is_some_and(Drain::is_over) && jobs.is_empty() && errands.is_empty() {
                break Ok(());
            }
            tokio::select! {
                biased;
                Some(outcome) = jobs.next(), if !jobs.is_empty() => self.progress.finished(outcome),
                Some(()) = errands.next(), if !errands.is_empty() => {}
                failure = &mut broke, if !broken && !leaving(&drain) => {
                    broken = true;
                    self.step(WorkerEvent::Broke(failure));
                    // It keeps its place, so that jobs wait for the one that replaces it, or go to others, instead of
                    // being refused.
                    consumer.pause().await;
                }
                () = &mut stopped, if !leaving(&drain) => {
                    self.step(WorkerEvent::Dismissed);
                    consumer.leave_type().await;
                    drain.get_or_insert_with(|| Drain::begin(&instance, limit)).leave(limit);
                }
                () = &mut asked, if drain.is_none() => drain = Some(Drain::begin(&instance, limit)),
                end = Drain::step(&mut drain), if drain.as_ref().is_some_and(Drain::waits) => match end {
                    DrainStep::PluginDone => busy = None,
                    DrainStep::TimedOut => {
                        self.warn_unfinished(jobs.len());
                        break Ok(());
                    }
                },
                Some(mail) = mailbox.next(), if errands.len() < concurrency => errands.push(self.errand(&instance, mail)),
                delivery = consumer.next(), if jobs.len() < concurrency => match delivery {
                    Some(delivery) => jobs.push(self.job(&instance, delivery)),
                    None => break Err(StartFailure("the bus was closed".to_owned())),
                },
            }
        };
        drop(busy);
        consumer.stop().await;
        // What is still in hand goes back to the bus here, for others to do.
        drop(jobs);
        drop(errands);
        self.farewell().await;
        drop(consumer);
        if tokio::time::timeout(LAST_WORDS, instance.stop()).await.is_err() {
            self.warn("`stop` did not return in time: the worker is dropped as it is");
        }
        end
    }

    fn job(&self, instance: &Instance, delivery: Delivery) -> impl Future<Output = Outcome> + use<> {
        self.progress.taken();
        let handler = instance.handle(header(&delivery), delivery.job.payload.clone());
        attempt(Arc::clone(&self.hands), handler, delivery)
    }

    fn errand<'a>(&'a self, instance: &Instance, mail: Mail) -> LocalBoxFuture<'a, ()> {
        match mail {
            Mail::Failed(failure) => {
                self.hands.counters.received_errors.inc();
                instance.on_error(*failure).boxed_local()
            }
            Mail::WhoIsThere => self.announce(true).boxed_local(),
            Mail::Reconnected => self.announce(false).boxed_local(),
        }
    }

    /// Tells everybody that the worker is there; `resend` where the manager asked.
    async fn announce(&self, resend: bool) {
        let Hands { worker, surroundings, counters, .. } = &*self.hands;
        let announcement = Announcement { worker: worker.clone(), host: Some(surroundings.host.to_string()) };
        if resend {
            counters.sent_keepalives.inc()
        } else {
            counters.sent_registrations.inc()
        }
        // A bus that is away says so once it is back, and the announcement is made again.
        if let Err(error) = surroundings.bus.publish(Notification::New { worker: announcement, resend }).await {
            self.warn(&format!("could not announce itself: {error}"));
        }
    }

    async fn farewell(&self) {
        let Hands { worker, surroundings, .. } = &*self.hands;
        if let Err(error) = surroundings.bus.publish(Notification::Del(worker.clone())).await {
            self.warn(&format!("could not say that it leaves, managers will find out: {error}"));
        }
    }

    fn step(&self, event: WorkerEvent) {
        let state = match self.state.borrow().after(event) {
            Ok(state) => state,
            Err(error) => {
                debug_assert!(false, "{error}");
                return self.warn(&format!("a bug in the host: {error}"));
            }
        };
        let Hands { worker, spec, .. } = &*self.hands;
        match &state {
            WorkerState::Failed(failure) | WorkerState::Broken(failure) => {
                tracing::error!(target: TARGET, worker = %worker.id, plugin = %spec.plugin, "{state}: {failure}");
            }
            _ => tracing::info!(target: TARGET, worker = %worker.id, plugin = %spec.plugin, "{state}"),
        }
        self.state.send_replace(state);
    }

    fn warn_unfinished(&self, jobs: usize) {
        let limit = humantime::format_duration(self.hands.spec.drain_timeout);
        self.warn(&format!(
            "not drained within {limit} (`drain_timeout`): {jobs} unfinished jobs go back to the queue"
        ));
    }

    fn warn(&self, message: &str) {
        tracing::warn!(target: TARGET, worker = %self.hands.worker.id, "{message}");
    }
}

fn leaving(drain: &Option<Drain>) -> bool {
    drain.as_ref().is_some_and(|drain| drain.leaving)
}

fn start_overran(limit: Duration) -> String {
    format!("`start` did not return within {} (`start_timeout`)", humantime::format_duration(limit))
}

/// A worker that takes jobs.
struct Running {
    instance: Instance,
    mailbox: Mailbox,
    consumer: Box<dyn Consumer>,
}

/// A drain under way. First the plugin finishes what it has begun by itself; once the worker leaves, too, the drain is
/// over when the plugin is done, and at the latest at the deadline.
struct Drain {
    plugin: Option<LocalBoxFuture<'static, ()>>,
    deadline: Pin<Box<Sleep>>,
    leaving: bool,
}

enum DrainStep {
    PluginDone,
    TimedOut,
}

impl Drain {
    fn begin(instance: &Instance, limit: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(limit));
        Self { plugin: Some(instance.drain().boxed_local()), deadline, leaving: false }
    }

    fn leave(&mut self, limit: Duration) {
        self.leaving = true;
        self.deadline.as_mut().reset(tokio::time::Instant::now() + limit);
    }

    fn is_over(&self) -> bool {
        self.leaving && self.plugin.is_none()
    }

    fn waits(&self) -> bool {
        self.leaving || self.plugin.is_some()
    }

    /// Waits for the plugin or the deadline. A plugin that is not done in time is taken for done while its worker does not
    /// leave yet. Cancel safe.
    async fn step(drain: &mut Option<Self>) -> DrainStep {
        let Some(drain) = drain else { return std::future::pending().await };
        let in_time = tokio::select! {
            () = async { match &mut drain.plugin { Some(plugin) => plugin.await, None => std::future::pending().await } } => true,
            () = &mut drain.deadline => false,
        };
        if !in_time && drain.leaving {
            return DrainStep::TimedOut;
        }
        drain.plugin = None;
        DrainStep::PluginDone
    }
}
