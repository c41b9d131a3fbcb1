//! A worker's life, as one local task on a lane of its generation.

use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use mshost_bus::{Announcement, Consumer, ConsumerOptions, Delivery, Notification};
use mshost_core::ids::{WorkerId, WorkerRef};
use mshost_plugin_host::{HandlerError, Instance, Lane, StateSnapshot};
use mshost_topology::WorkerSpec;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::alarm::Alarm;
use super::attempt::{Outcome, attempt, header};
use super::counters::Counters;
use super::drain::{Drain, DrainStep};
use super::gate::{self, Opener};
use super::handle::Progress;
use super::handover::{Handover, HandoverStep, Order, Told};
use super::outbox::Outbox;
use super::pace::{Pace, Share};
use super::state::{StartFailure, WorkerEvent, WorkerState};
use super::switchboard::{Mail, Mailbox};
use super::{Listeners, Stragglers, Surroundings};

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

/// What the controller of its slot lends to a worker.
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
    control: Control,
}

/// What the supervisor's end of a worker tells it.
pub(super) struct Control {
    /// Leave.
    pub(super) stop: CancellationToken,
    /// Join, with the state of the one before where there is any; `None` where it need not wait for that.
    pub(super) admission: Option<oneshot::Receiver<Option<StateSnapshot>>>,
    /// The part of its slot's jobs that it may take; `None` is all.
    pub(super) share: Option<Share>,
    /// What else is to be done.
    pub(super) orders: mpsc::Receiver<Order>,
}

impl Life {
    pub(super) fn new(
        id: WorkerId,
        spec: Arc<WorkerSpec>,
        lent: Lent,
        surroundings: Surroundings,
        state: watch::Sender<WorkerState>,
        progress: Arc<Progress>,
        control: Control,
    ) -> Self {
        let counters = Arc::new(Counters::new(&surroundings.metrics, &spec.worker_type));
        let worker = WorkerRef { id, worker_type: spec.worker_type.clone() };
        let hands = Hands { worker, spec, surroundings, counters, alarm: Alarm::default() };
        Self { hands: Arc::new(hands), lent, state, progress, control }
    }

    /// Lives, from start to end.
    pub(super) async fn live(self, lane: Lane) {
        let stop = self.control.stop.clone();
        let started = tokio::select! {
            started = self.start(&lane) => started.map(Some),
            () = stop.cancelled() => Ok(None),
        };
        match started {
            Ok(Some((instance, opener))) => self.serve(instance, opener).await,
            Ok(None) => self.step(WorkerEvent::Left),
            Err(failure) => self.step(WorkerEvent::Failed(failure)),
        }
    }

    async fn start(&self, lane: &Lane) -> Result<(Instance, Opener), StartFailure> {
        let Hands { worker, spec, surroundings, counters, alarm } = &*self.hands;
        let (opener, gate) = gate::closed();
        let outbox = Arc::new(Outbox {
            worker: worker.clone(),
            reach: surroundings.reach(),
            surroundings: surroundings.clone(),
            counters: Arc::clone(counters),
            listeners: self.lent.listeners.clone(),
            stragglers: self.lent.stragglers.clone(),
            timeout: spec.timeout,
            alarm: alarm.clone(),
            gate,
            deadline: spec.deadline,
        });
        let starting = lane.start(&spec.worker_type, &spec.config, spec.concurrency, outbox);
        Ok((self.in_time("start", starting).await?, opener))
    }

    /// Waits for what the plugin does at the ends of a worker's life.
    async fn in_time<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, HandlerError>>,
    ) -> Result<T, StartFailure> {
        let limit = self.hands.spec.start_timeout;
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|error| StartFailure(error.message)),
            Err(_) => Err(StartFailure(overran(what, limit))),
        }
    }

    /// Takes its place and does its jobs.
    async fn serve(mut self, instance: Instance, opener: Opener) {
        let stop = self.control.stop.clone();
        let placed = tokio::select! {
            placed = self.take_place(&instance, opener) => placed.map(Some),
            () = stop.cancelled() => Ok(None),
        };
        match placed {
            Ok(Some(place)) => {
                self.step(WorkerEvent::Ready);
                let end = self.run(instance, place).await;
                self.step(end.map_or_else(WorkerEvent::Failed, |()| WorkerEvent::Left));
            }
            Ok(None) => {
                self.last_words(instance).await;
                self.step(WorkerEvent::Left);
            }
            Err(failure) => {
                // At once: whoever was to be replaced waits for it.
                self.step(WorkerEvent::Failed(failure));
                self.last_words(instance).await;
            }
        }
    }

    /// Waits until the worker may join, takes over the state of the one before, and joins.
    async fn take_place(&mut self, instance: &Instance, opener: Opener) -> Result<Place, StartFailure> {
        if let Some(admission) = self.control.admission.take() {
            self.step(WorkerEvent::Prepared);
            let from = admission.await.map_err(|_| StartFailure("nobody wants it any more".to_owned()))?;
            if let Some(from) = from {
                let schema = from.schema;
                self.in_time("restore", instance.restore(from)).await.map_err(|StartFailure(why)| {
                    StartFailure(format!("it cannot go on with the state (schema {schema}) of the one before: {why}"))
                })?;
            }
        }
        let Hands { worker, spec, surroundings, .. } = &*self.hands;
        surroundings.switchboard.listening().await;
        // Before the queues: whoever hears of this worker may report failures to it.
        let mailbox = surroundings.switchboard.register(&worker.id);
        let consumer = surroundings
            .bus
            .join(worker, ConsumerOptions { prefetch: self.prefetch(), durability: Some(spec.durability) })
            .await
            .map_err(|error| StartFailure(format!("cannot join the bus: {error}")))?;
        opener.open();
        self.announce(false).await;
        Ok(Place { mailbox, consumer })
    }

    /// How many jobs it may have in hand.
    fn prefetch(&self) -> u16 {
        let concurrency = self.hands.spec.concurrency;
        self.control.share.as_ref().map_or(concurrency, |share| Pace::prefetch(share, concurrency))
    }

    async fn run(&mut self, instance: Instance, place: Place) -> Result<(), StartFailure> {
        let Place { mut mailbox, mut consumer } = place;
        let (_, nobody) = mpsc::channel(1);
        let mut orders = std::mem::replace(&mut self.control.orders, nobody);
        let this = &*self;
        let mut jobs = FuturesUnordered::new();
        let mut errands = FuturesUnordered::new();
        let mut drain: Option<Drain> = None;
        let mut handover: Option<Handover> = None;
        let mut pace = this.control.share.clone().map(Pace::begin);
        let closing = &this.hands.surroundings.closing;
        let mut busy = Some(closing.busy());
        let (asked, stopped, broke) = (closing.asked(), this.control.stop.cancelled(), this.hands.alarm.raised());
        tokio::pin!(asked, stopped, broke);
        let mut broken = false;
        let (concurrency, limit) = (usize::from(this.prefetch()), this.hands.spec.drain_timeout);
        let end = loop {
            if drain.as_ref().is_some_and(Drain::is_over) && jobs.is_empty() && errands.is_empty() {
                break Ok(());
            }
            if let Some(handover) = handover.as_mut().filter(|handover| handover.is_finishing() && jobs.is_empty()) {
                handover.tell(this.snapshot(&instance));
            }
            tokio::select! {
                biased;
                Some(outcome) = jobs.next(), if !jobs.is_empty() => this.progress.finished(outcome),
                Some(()) = errands.next(), if !errands.is_empty() => {}
                failure = &mut broke, if !broken && !leaving(&drain) => {
                    broken = true;
                    handover = None;
                    this.step(WorkerEvent::Broke(failure));
                    // It keeps its place, so that jobs wait for the one that replaces it, or go to others, instead of
                    // being refused.
                    consumer.pause().await;
                }
                () = &mut stopped, if !leaving(&drain) => {
                    handover = None;
                    this.step(WorkerEvent::Dismissed);
                    consumer.leave_type().await;
                    drain.get_or_insert_with(|| Drain::begin(&instance, limit)).leave(limit);
                }
                () = &mut asked, if drain.is_none() => drain = Some(Drain::begin(&instance, limit)),
                end = Drain::step(&mut drain), if drain.as_ref().is_some_and(Drain::waits) => match end {
                    DrainStep::PluginDone => busy = None,
                    DrainStep::TimedOut => {
                        this.warn_unfinished(jobs.len());
                        break Ok(());
                    }
                },
                Some(order) = orders.recv() => match order {
                    // Whoever asks sees that there will be no answer.
                    Order::HandOver(_) if broken || drain.is_some() || handover.is_some() => {}
                    Order::HandOver(answer) => {
                        this.step(WorkerEvent::HandsOver);
                        consumer.pause().await;
                        handover = Some(Handover::begin(answer, limit));
                    }
                    Order::GoOn => this.go_on(&mut handover, &mut *consumer).await,
                },
                step = Handover::step(&mut handover), if handover.is_some() => match step {
                    HandoverStep::TimedOut => {
                        this.warn_unfinished(jobs.len());
                        this.progress.handed_back(jobs.len());
                        jobs.clear();
                    }
                    HandoverStep::Told(goes_on) => if goes_on {
                        this.go_on(&mut handover, &mut *consumer).await;
                    },
                },
                () = Pace::turn(&mut pace), if pace.is_some() && !broken && drain.is_none() => consumer.resume().await,
                Some(mail) = mailbox.next(), if errands.len() < concurrency => errands.push(this.errand(&instance, mail)),
                delivery = consumer.next(),
                    if jobs.len() < concurrency && handover.as_ref().is_none_or(Handover::is_finishing) =>
                match delivery {
                    Some(delivery) => {
                        Pace::took(&mut pace, &delivery.job, &mut *consumer).await;
                        jobs.push(this.job(&instance, delivery));
                    }
                    None => break Err(StartFailure("the bus was closed".to_owned())),
                },
            }
        };
        drop(busy);
        consumer.stop().await;
        // What is still in hand goes back to the bus here, for others to do.
        drop(jobs);
        drop(errands);
        this.farewell().await;
        drop(consumer);
        this.last_words(instance).await;
        end
    }

    fn snapshot(&self, instance: &Instance) -> LocalBoxFuture<'static, Told> {
        let telling = instance.snapshot(self.hands.surroundings.snapshot_limit);
        let limit = self.hands.spec.start_timeout;
        async move {
            match tokio::time::timeout(limit, telling).await {
                Ok(told) => told.map_err(|error| StartFailure(format!("its snapshot cannot be had: {error}"))),
                Err(_) => Err(StartFailure(overran("snapshot", limit))),
            }
        }
        .boxed_local()
    }

    /// Nobody takes over: the worker serves as before.
    async fn go_on(&self, handover: &mut Option<Handover>, consumer: &mut dyn Consumer) {
        if handover.take().is_some() {
            consumer.resume().await;
            self.step(WorkerEvent::GoesOn);
        }
    }

    async fn last_words(&self, instance: Instance) {
        if tokio::time::timeout(LAST_WORDS, instance.stop()).await.is_err() {
            self.warn("`stop` did not return in time: the worker is dropped as it is");
        }
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

fn overran(what: &str, limit: Duration) -> String {
    format!("`{what}` did not return within {} (`start_timeout`)", humantime::format_duration(limit))
}

/// A worker's place on the bus.
struct Place {
    mailbox: Mailbox,
    consumer: Box<dyn Consumer>,
}
