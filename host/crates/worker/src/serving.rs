//! A worker that serves: one loop polls its jobs, its consumer and whatever else may happen to it, and hands each event
//! to its [phase](super::worker_phase). Nothing is awaited but in that one place, so that each of them goes on whatever the
//! others wait for.

use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use mshost_bus::{Consumer, Delivery};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{AttemptOutcome, attempt, header};
use super::consumer_driver::{ConsumeMode, Consumed, ConsumerDriver};
use super::lifecycle::Lifecycle;
use super::notification_router::{Mailbox, MailboxMessage};
use super::plugin_drain::PluginDrain;
use super::plugin_instance::PluginInstance;
use super::progress::Progress;
use super::share_limiter::{JobShare, ShareLimiter};
use super::worker_context::WorkerContext;
use super::worker_phase::{PhaseEffect, PhaseEvent, SnapshotResult, WorkerPhase};
use super::worker_request::WorkerRequest;
use super::worker_state::StartFailure;

/// What a worker that serves works with.
pub(super) struct Serving<'a> {
    pub(super) context: &'a Arc<WorkerContext>,
    pub(super) lifecycle: &'a mut Lifecycle,
    pub(super) progress: &'a Progress,
    /// It is to leave.
    pub(super) stop: &'a CancellationToken,
    /// What else the supervisor asks for.
    pub(super) requests: &'a mut mpsc::Receiver<WorkerRequest>,
    /// The most jobs at a time.
    pub(super) concurrency: u16,
    /// The part of its slot's jobs that it may take; `None` is all.
    pub(super) share: Option<JobShare>,
}

/// A worker's consumer and mailbox, once it has joined the bus.
pub(super) struct JoinedBus {
    pub(super) mailbox: Mailbox,
    pub(super) consumer: Box<dyn Consumer>,
}

impl Serving<'_> {
    /// Serves until the worker is told to leave, or the bus is closed. Jobs that are still in hand then have gone back to the
    /// bus. The worker remains on the bus until the returned consumer is dropped.
    pub(super) async fn run(self, instance: &impl PluginInstance, joined: JoinedBus) -> ConsumerDriver {
        let Self { context, lifecycle, progress, stop, requests, concurrency, share } = self;
        let JoinedBus { mut mailbox, consumer } = joined;
        let (shutdown, concurrency) = (&context.host.shutdown, usize::from(concurrency));
        let (stopped, closing, panicked) =
            (stop.cancelled().fuse(), shutdown.requested().fuse(), context.panic_signal.notified().fuse());
        tokio::pin!(stopped, closing, panicked);
        let (mut consumer, mut share) = (ConsumerDriver::new(consumer), share.map(ShareLimiter::new));
        let mut plugin_drain = PluginDrain::NotAsked { busy: shutdown.token() };
        let (mut jobs, mut messages) = (FuturesUnordered::new(), FuturesUnordered::new());
        loop {
            let is_idle = jobs.is_empty() && messages.is_empty() && plugin_drain.is_done();
            let due = match lifecycle.phase() {
                WorkerPhase::Pausing { .. } if consumer.is(ConsumeMode::Paused) => Some(PhaseEvent::Paused),
                WorkerPhase::Finishing { .. } if jobs.is_empty() => {
                    Some(PhaseEvent::JobsFinished(snapshot(context, instance)))
                }
                WorkerPhase::Draining { .. } if is_idle => Some(PhaseEvent::Drained),
                WorkerPhase::Leaving(_) if consumer.is(ConsumeMode::Stopped) => return consumer,
                _ => None,
            };
            if let Some(event) = due {
                lifecycle.step(event);
                continue;
            }
            let is_running = matches!(lifecycle.phase(), WorkerPhase::Running);
            let may_begin = jobs.len() < concurrency && lifecycle.phase().may_begin_jobs();
            consumer.steer(lifecycle.phase().consume_mode(share.as_ref().is_some_and(ShareLimiter::is_paused)));
            // In this order: what ends frees room, and nothing new comes before what has been asked for.
            let event = tokio::select! {
                biased;
                Some(outcome) = jobs.next(), if !jobs.is_empty() => {
                    progress.attempt_ended(outcome);
                    continue;
                }
                Some(()) = messages.next(), if !messages.is_empty() => continue,
                failure = &mut panicked => PhaseEvent::Panicked(failure),
                () = &mut stopped => PhaseEvent::StopRequested,
                () = &mut closing => {
                    plugin_drain.begin(instance, Some(context.spec.drain_timeout));
                    continue;
                }
                event = lifecycle.next_event() => event,
                () = plugin_drain.done() => continue,
                Some(request) = requests.recv() => match request {
                    // It ends with the host. The other end sees that there will be no answer.
                    WorkerRequest::HandOver(_) if plugin_drain.has_begun() => continue,
                    WorkerRequest::HandOver(answer) => PhaseEvent::HandOverRequested(answer),
                    WorkerRequest::Resume => PhaseEvent::ResumeRequested,
                },
                () = until_resumed(&mut share), if is_running => continue,
                Some(message) = mailbox.next(), if messages.len() < concurrency => {
                    messages.push(handle_message(context, instance, message));
                    continue;
                }
                consumed = consumer.next(may_begin) => match consumed {
                    Consumed::Delivery(delivery) => {
                        share.iter_mut().for_each(|share| share.job_taken(&delivery.job));
                        progress.job_taken();
                        jobs.push(job(context, instance, delivery));
                        continue;
                    }
                    Consumed::CommandDone => continue,
                    Consumed::BusClosed => PhaseEvent::BusClosed,
                },
            };
            match lifecycle.step(event) {
                PhaseEffect::None => {}
                PhaseEffect::DrainPlugin => plugin_drain.begin(instance, None),
                PhaseEffect::HandBackJobs => {
                    warn_unfinished(context, jobs.len());
                    progress.handed_back(jobs.len());
                    jobs.clear();
                }
                PhaseEffect::ReportOverdueJobs => {
                    warn_unfinished(context, jobs.len());
                    plugin_drain.abandon();
                }
            }
        }
    }
}

/// Waits until a worker that had its share may take jobs again. Cancel safe.
async fn until_resumed(share: &mut Option<ShareLimiter>) {
    match share {
        Some(share) => share.until_resumed().await,
        None => std::future::pending().await,
    }
}

fn job<I: PluginInstance>(
    context: &Arc<WorkerContext>,
    instance: &I,
    delivery: Delivery,
) -> impl Future<Output = AttemptOutcome> + use<I> {
    let handler = instance.handle(header(&delivery), delivery.job.payload.clone());
    attempt(Arc::clone(context), handler, delivery)
}

fn handle_message(
    context: &Arc<WorkerContext>,
    instance: &impl PluginInstance,
    message: MailboxMessage,
) -> LocalBoxFuture<'static, ()> {
    let announce = |resend| {
        let context = Arc::clone(context);
        async move { context.announce(resend).await }.boxed_local()
    };
    match message {
        MailboxMessage::JobFailed(failure) => {
            context.counters.received_errors.inc();
            instance.on_error(*failure)
        }
        MailboxMessage::AnnounceRequested => announce(true),
        MailboxMessage::Reconnected => announce(false),
    }
}

fn snapshot(context: &WorkerContext, instance: &impl PluginInstance) -> LocalBoxFuture<'static, SnapshotResult> {
    let snapshot = instance.snapshot(context.host.snapshot_limit);
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
