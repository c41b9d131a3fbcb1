//! A worker that serves: one loop polls its jobs, its consumer and whatever else may happen to it, and hands each event
//! to its [phase](super::phase). Nothing is awaited but in that one place, so that each of them goes on whatever the others
//! wait for.

use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use mshost_bus::{Consumer, Delivery};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{Outcome, attempt, header};
use super::consumer_driver::{ConsumeMode, Consumed, ConsumerDriver};
use super::context::WorkerContext;
use super::lifecycle::Lifecycle;
use super::pace::{Pace, Share};
use super::phase::{Effect, Phase, PhaseEvent, SnapshotResult};
use super::plugin_drain::PluginDrain;
use super::plugin_instance::PluginInstance;
use super::progress::Progress;
use super::request::Order;
use super::state::StartFailure;
use super::switchboard::{Mail, Mailbox};

/// What a worker that serves works with.
pub(super) struct Serving<'a> {
    pub(super) context: &'a Arc<WorkerContext>,
    pub(super) lifecycle: &'a mut Lifecycle,
    pub(super) progress: &'a Progress,
    /// It is to leave.
    pub(super) stop: &'a CancellationToken,
    /// What else the supervisor asks for.
    pub(super) requests: &'a mut mpsc::Receiver<Order>,
    /// The most jobs at a time.
    pub(super) concurrency: u16,
    /// The part of its slot's jobs that it may take; `None` is all.
    pub(super) share: Option<Share>,
}

/// A worker's place on the bus.
pub(super) struct Joined {
    pub(super) mailbox: Mailbox,
    pub(super) consumer: Box<dyn Consumer>,
}

impl Serving<'_> {
    /// Serves until the worker is told to leave, or the bus is closed. Jobs that are still in hand then have gone back to the
    /// bus. Until the returned consumer is dropped the worker has its place.
    pub(super) async fn run(self, instance: &impl PluginInstance, joined: Joined) -> ConsumerDriver {
        let Self { context, lifecycle, progress, stop, requests, concurrency, share } = self;
        let Joined { mut mailbox, consumer } = joined;
        let (shutdown, concurrency) = (&context.surroundings.closing, usize::from(concurrency));
        let (stopped, closing, panicked) =
            (stop.cancelled().fuse(), shutdown.asked().fuse(), context.alarm.raised().fuse());
        tokio::pin!(stopped, closing, panicked);
        let (mut consumer, mut share) = (ConsumerDriver::new(consumer), share.map(Pace::begin));
        let mut plugin_drain = PluginDrain::NotAsked { busy: shutdown.busy() };
        let (mut jobs, mut errands) = (FuturesUnordered::new(), FuturesUnordered::new());
        loop {
            let due = match lifecycle.phase() {
                Phase::Pausing { .. } if consumer.is(ConsumeMode::Paused) => Some(PhaseEvent::Paused),
                Phase::Finishing { .. } if jobs.is_empty() => {
                    Some(PhaseEvent::JobsFinished(snapshot(context, instance)))
                }
                Phase::Draining { .. } if plugin_drain.is_done() && jobs.is_empty() && errands.is_empty() => {
                    Some(PhaseEvent::Drained)
                }
                Phase::Leaving(_) if consumer.is(ConsumeMode::Stopped) => return consumer,
                _ => None,
            };
            let event = match due {
                Some(event) => event,
                None => {
                    let is_running = matches!(lifecycle.phase(), Phase::Running);
                    let may_begin = jobs.len() < concurrency && lifecycle.phase().may_begin_jobs();
                    consumer.steer(lifecycle.phase().consume_mode(share.as_ref().is_some_and(Pace::is_paused)));
                    // In this order: what ends frees room, and nothing new comes before what has been asked for.
                    tokio::select! {
                        biased;
                        Some(outcome) = jobs.next(), if !jobs.is_empty() => {
                            progress.finished(outcome);
                            continue;
                        }
                        Some(()) = errands.next(), if !errands.is_empty() => continue,
                        failure = &mut panicked => PhaseEvent::Panicked(failure),
                        () = &mut stopped => PhaseEvent::StopRequested,
                        () = &mut closing => {
                            plugin_drain.begin(instance, Some(context.spec.drain_timeout));
                            continue;
                        }
                        event = lifecycle.next_event() => event,
                        () = plugin_drain.done() => continue,
                        Some(request) = requests.recv() => match request {
                            // It ends with the host. Whoever asks sees that there will be no answer.
                            Order::HandOver(_) if plugin_drain.has_begun() => continue,
                            Order::HandOver(answer) => PhaseEvent::HandOverRequested(answer),
                            Order::GoOn => PhaseEvent::ResumeRequested,
                        },
                        () = turn(&mut share), if is_running => continue,
                        Some(mail) = mailbox.next(), if errands.len() < concurrency => {
                            errands.push(errand(context, instance, mail));
                            continue;
                        }
                        consumed = consumer.next(may_begin) => match consumed {
                            Consumed::Delivery(delivery) => {
                                share.iter_mut().for_each(|share| share.took(&delivery.job));
                                progress.taken();
                                jobs.push(job(context, instance, delivery));
                                continue;
                            }
                            Consumed::CommandDone => continue,
                            Consumed::BusClosed => PhaseEvent::BusClosed,
                        },
                    }
                }
            };
            match lifecycle.step(event) {
                Effect::None => {}
                Effect::DrainPlugin => plugin_drain.begin(instance, None),
                Effect::HandBackJobs => {
                    warn_unfinished(context, jobs.len());
                    progress.handed_back(jobs.len());
                    jobs.clear();
                }
                Effect::ReportOverdueJobs => {
                    warn_unfinished(context, jobs.len());
                    plugin_drain.abandon();
                }
            }
        }
    }
}

/// Waits until a worker that had its share may take jobs again. Cancel safe.
async fn turn(share: &mut Option<Pace>) {
    match share {
        Some(share) => share.turn().await,
        None => std::future::pending().await,
    }
}

fn job<I: PluginInstance>(
    context: &Arc<WorkerContext>,
    instance: &I,
    delivery: Delivery,
) -> impl Future<Output = Outcome> + use<I> {
    let handler = instance.handle(header(&delivery), delivery.job.payload.clone());
    attempt(Arc::clone(context), handler, delivery)
}

fn errand(context: &Arc<WorkerContext>, instance: &impl PluginInstance, mail: Mail) -> LocalBoxFuture<'static, ()> {
    let announce = |resend| {
        let context = Arc::clone(context);
        async move { context.announce(resend).await }.boxed_local()
    };
    match mail {
        Mail::Failed(failure) => {
            context.counters.received_errors.inc();
            instance.on_error(*failure)
        }
        Mail::WhoIsThere => announce(true),
        Mail::Reconnected => announce(false),
    }
}

fn snapshot(context: &WorkerContext, instance: &impl PluginInstance) -> LocalBoxFuture<'static, SnapshotResult> {
    let snapshot = instance.snapshot(context.surroundings.snapshot_limit);
    let limit = context.spec.start_timeout;
    async move {
        match tokio::time::timeout(limit, snapshot).await {
            Ok(result) => result.map_err(|error| StartFailure(format!("its snapshot cannot be had: {error}"))),
            Err(_) => Err(overran("snapshot", limit)),
        }
    }
    .boxed_local()
}

fn warn_unfinished(context: &WorkerContext, jobs: usize) {
    let limit = humantime::format_duration(context.spec.drain_timeout);
    context.warn(&format!("not drained within {limit} (`drain_timeout`): {jobs} unfinished jobs go back to the queue"));
}

/// A step of a worker's start, or of its handover, that took too long.
pub(super) fn overran(what: &str, limit: Duration) -> StartFailure {
    StartFailure(format!("`{what}` did not return within {} (`start_timeout`)", humantime::format_duration(limit)))
}
