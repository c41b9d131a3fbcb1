//! A worker, as one local task on a lane of its generation: it starts, joins the bus, serves and leaves.

use std::sync::Arc;
use std::time::Duration;

use mshost_bus::ConsumerOptions;
use mshost_core::ids::WorkerId;
use mshost_plugin_host::{HandlerError, Instance, Lane, StateSnapshot};
use mshost_topology::WorkerSpec;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::host_context::HostContext;
use super::lifecycle::Lifecycle;
use super::plugin_instance::PluginInstance;
use super::plugin_services::PluginServices;
use super::progress::Progress;
use super::send_gate::{self, SendGateOpener};
use super::serving::{JoinedBus, Serving, overran};
use super::share_limiter::{JobShare, ShareLimiter};
use super::worker_context::{SlotResources, WorkerContext};
use super::worker_phase::PhaseEvent;
use super::worker_request::WorkerRequest;
use super::worker_state::{StartFailure, WorkerState};

/// How long a plugin's `stop` may take before its worker is dropped.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A worker before it has a lane to run on.
pub(super) struct WorkerTask {
    context: Arc<WorkerContext>,
    resources: SlotResources,
    lifecycle: Lifecycle,
    progress: Arc<Progress>,
    control: WorkerControl,
}

/// What the supervisor's end of a worker tells it.
pub(super) struct WorkerControl {
    /// Leave.
    pub(super) stop: CancellationToken,
    /// Join, with the state of the one before where there is any; `None` where it need not wait for that.
    pub(super) admission: Option<oneshot::Receiver<Option<StateSnapshot>>>,
    /// The part of its slot's jobs that it may take; `None` is all.
    pub(super) share: Option<JobShare>,
    /// What else is asked of it.
    pub(super) requests: mpsc::Receiver<WorkerRequest>,
}

impl WorkerTask {
    pub(super) fn new(
        id: WorkerId,
        spec: Arc<WorkerSpec>,
        resources: SlotResources,
        host: HostContext,
        state: watch::Sender<WorkerState>,
        progress: Arc<Progress>,
        control: WorkerControl,
    ) -> Self {
        let context = Arc::new(WorkerContext::new(id, spec, host));
        let lifecycle = Lifecycle::new(state, Arc::clone(&context));
        Self { context, resources, lifecycle, progress, control }
    }

    /// Runs the worker from its start to its end.
    pub(super) async fn run(mut self, lane: Lane) {
        let stop = self.control.stop.clone();
        let started = tokio::select! {
            started = self.start(&lane) => started.map(Some),
            () = stop.cancelled() => Ok(None),
        };
        match started {
            Ok(Some((instance, opener))) => self.join_and_serve(instance, opener).await,
            Ok(None) => drop(self.lifecycle.step(PhaseEvent::Left)),
            Err(failure) => drop(self.lifecycle.step(PhaseEvent::StartFailed(failure))),
        }
    }

    async fn start(&self, lane: &Lane) -> Result<(Instance, SendGateOpener), StartFailure> {
        let WorkerContext { worker, spec, host, counters, panic_signal } = &*self.context;
        let (opener, gate) = send_gate::closed();
        let outbox = Arc::new(PluginServices {
            worker: worker.clone(),
            admission: host.send_admission(),
            host: host.clone(),
            counters: Arc::clone(counters),
            listeners: self.resources.listeners.clone(),
            abandoned_threads: self.resources.abandoned_threads.clone(),
            timeout: spec.timeout,
            panic_signal: panic_signal.clone(),
            gate,
            deadline: spec.deadline,
        });
        let starting = lane.start(&spec.worker_type, &spec.config, spec.concurrency, outbox);
        Ok((self.in_time("start", starting).await?, opener))
    }

    /// Waits for a call into the plugin that belongs to the start of a worker.
    async fn in_time<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, HandlerError>>,
    ) -> Result<T, StartFailure> {
        let limit = self.context.spec.start_timeout;
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|error| StartFailure(error.message)),
            Err(_) => Err(overran(what, limit)),
        }
    }

    async fn join_and_serve(mut self, instance: Instance, opener: SendGateOpener) {
        let stop = self.control.stop.clone();
        let joined = tokio::select! {
            joined = self.join(&instance, opener) => joined.map(Some),
            () = stop.cancelled() => Ok(None),
        };
        match joined {
            Ok(Some(joined)) => self.serve(instance, joined).await,
            Ok(None) => {
                self.stop_plugin(instance).await;
                self.lifecycle.step(PhaseEvent::Left);
            }
            Err(failure) => {
                // At once: the one that it was to replace waits for it.
                self.lifecycle.step(PhaseEvent::StartFailed(failure));
                self.stop_plugin(instance).await;
            }
        }
    }

    /// Waits until the worker may join, takes over the state of the one before, and joins.
    async fn join(&mut self, instance: &Instance, opener: SendGateOpener) -> Result<JoinedBus, StartFailure> {
        if let Some(admission) = self.control.admission.take() {
            self.lifecycle.step(PhaseEvent::Prepared);
            let from = admission.await.map_err(|_| StartFailure("nobody wants it any more".to_owned()))?;
            if let Some(from) = from {
                let schema = from.schema;
                self.in_time("restore", instance.restore(from)).await.map_err(|StartFailure(why)| {
                    StartFailure(format!("it cannot go on with the state (schema {schema}) of the one before: {why}"))
                })?;
            }
        }
        let WorkerContext { worker, spec, host, .. } = &*self.context;
        host.notifications.listening().await;
        // Before the queues: a worker that hears of this one may report failures to it.
        let mailbox = host.notifications.register(&worker.id);
        let consumer = host
            .bus
            .join(worker, ConsumerOptions { prefetch: self.concurrency(), durability: Some(spec.durability) })
            .await
            .map_err(|error| StartFailure(format!("cannot join the bus: {error}")))?;
        opener.open();
        self.context.announce(false).await;
        Ok(JoinedBus { mailbox, consumer })
    }

    /// How many jobs it may have in hand.
    fn concurrency(&self) -> u16 {
        let concurrency = self.context.spec.concurrency;
        self.control.share.as_ref().map_or(concurrency, |share| ShareLimiter::prefetch(share, concurrency))
    }

    async fn serve(mut self, instance: impl PluginInstance, joined: JoinedBus) {
        self.lifecycle.step(PhaseEvent::Joined);
        let serving = Serving {
            concurrency: self.concurrency(),
            context: &self.context,
            lifecycle: &mut self.lifecycle,
            progress: &self.progress,
            stop: &self.control.stop,
            requests: &mut self.control.requests,
            share: self.control.share.clone(),
        };
        let consumer = serving.run(&instance, joined).await;
        self.context.announce_departure().await;
        drop(consumer);
        self.stop_plugin(instance).await;
        self.lifecycle.step(PhaseEvent::Left);
    }

    async fn stop_plugin(&self, instance: impl PluginInstance) {
        if tokio::time::timeout(STOP_LIMIT, instance.stop()).await.is_err() {
            self.context.warn("`stop` did not return in time: the worker is dropped as it is");
        }
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
