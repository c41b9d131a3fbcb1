#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mshost_bus::{Absent, Bus, BusLimits, Consumer, Delivery, Failure, Job};
use mshost_bus_embedded::EmbeddedBus;
use mshost_core::ids::{GenerationId, JobId, PluginName, WorkerRef};
use mshost_core::metrics::Metrics;
use mshost_manager::Registry;
use mshost_plugin_api::{Codec, Payload, Route};
use mshost_plugin_host::JobHeader;
use tokio::time::Instant;

use super::*;
use crate::panic_signal::PanicSignal;
use crate::{AbandonedThreads, HostShutdown, Listeners, NotificationRouter, StartingTypes, id_generator};

/// How long the bus takes for each command of a consumer.
const HANG: Duration = Duration::from_secs(30);

/// How long a handler works, in as many steps of a second: it ends in time only where it is polled each second.
const WORK: Duration = Duration::from_secs(10);

const TIMEOUT: Duration = Duration::from_secs(15);

/// A worker without a library.
struct Double;

impl PluginInstance for Double {
    fn handle(
        &self,
        _: Arc<JobHeader>,
        _: Payload,
    ) -> impl Future<Output = Result<(), HandlerError>> + 'static + use<> {
        async move {
            for _ in 0..WORK.as_secs() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
    }

    fn on_error(&self, _: Failure) -> LocalBoxFuture<'static, ()> {
        async {}.boxed_local()
    }

    fn drain(&self) -> LocalBoxFuture<'static, ()> {
        async {}.boxed_local()
    }

    fn snapshot(&self, _: u64) -> LocalBoxFuture<'static, Result<StateSnapshot, HandlerError>> {
        async { Ok(StateSnapshot { schema: 1, bytes: vec![1] }) }.boxed_local()
    }

    async fn stop(self) {}
}

/// A consumer of a broker that takes [`HANG`] to carry out a command.
struct SlowConsumer(Box<dyn Consumer>);

#[async_trait]
impl Consumer for SlowConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        self.0.next().await
    }

    async fn leave_type(&mut self) {
        tokio::time::sleep(HANG).await;
        self.0.leave_type().await;
    }

    async fn pause(&mut self) {
        tokio::time::sleep(HANG).await;
        self.0.pause().await;
    }

    async fn resume(&mut self) {
        tokio::time::sleep(HANG).await;
        self.0.resume().await;
    }

    async fn stop(&mut self) {
        tokio::time::sleep(HANG).await;
        self.0.stop().await;
    }
}

/// A worker that serves, and what it is controlled by.
struct TaskSetup {
    bus: Arc<dyn Bus>,
    notifications: Arc<NotificationRouter>,
    worker: WorkerRef,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    state: watch::Receiver<WorkerState>,
    stop: CancellationToken,
    requests: mpsc::Sender<WorkerRequest>,
    panic_signal: PanicSignal,
}

impl TaskSetup {
    fn new(share: Option<JobShare>) -> (Self, WorkerTask) {
        let text = format!(
            "[bus]\nurl = \"embedded\"\n[[worker]]\ntype = \"WT\"\nplugin = \"double\"\nconcurrency = 4\n\
             timeout = \"{}s\"\ndrain_timeout = \"100s\"\n",
            TIMEOUT.as_secs()
        );
        let topology = mshost_topology::parse(Path::new("topology.toml"), &text, &|_| None).unwrap();
        let plan = mshost_topology::plan(&topology, &BTreeMap::from([(PluginName::new("double"), GenerationId(1))]));
        let spec = Arc::clone(&plan.iter().next().unwrap().1.spec);
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new(BusLimits::default(), Codec::MsgPack));
        let metrics = Metrics::new().unwrap();
        let notifications = NotificationRouter::open(Arc::clone(&bus));
        let host = HostContext {
            bus: Arc::clone(&bus),
            registry: Arc::new(Registry::new(8, Arc::clone(&metrics))),
            starting_types: StartingTypes::default(),
            notifications: Arc::clone(&notifications),
            metrics: Arc::clone(&metrics),
            shutdown: HostShutdown::default(),
            absent: Absent::Fail,
            managed: false,
            snapshot_limit: 1 << 20,
            message_bytes: 1 << 20,
            host_name: "host".into(),
        };
        let (stop, progress) = (CancellationToken::new(), Arc::new(Progress::default()));
        let (report, state) = watch::channel(WorkerState::Starting);
        let (requests, received) = mpsc::channel(4);
        let control = WorkerControl { stop: stop.clone(), admission: None, share, requests: received };
        let resources =
            SlotResources { listeners: Listeners::default(), abandoned_threads: AbandonedThreads::default() };
        let id = id_generator::new_worker_id(&spec.worker_type).unwrap();
        let task = WorkerTask::new(id.clone(), spec, resources, host, report, Arc::clone(&progress), control);
        let panic_signal = task.context.panic_signal.clone();
        (Self { bus, notifications, worker: id.into(), progress, metrics, state, stop, requests, panic_signal }, task)
    }

    /// Joins the bus as the worker, with a [`SlowConsumer`].
    async fn joined(&self) -> JoinedBus {
        let options = ConsumerOptions { prefetch: 4, durability: None };
        let consumer = Box::new(SlowConsumer(self.bus.join(&self.worker, options).await.unwrap()));
        JoinedBus { mailbox: self.notifications.register(&self.worker.id), consumer }
    }

    async fn send(&self, target: &str) {
        let id = JobId::new("J1").unwrap();
        let job = Job {
            correlation: id.clone(),
            id,
            route: Route::parse([target]).unwrap(),
            sender: self.worker.clone(),
            origin: self.worker.clone(),
            attempt: 1,
            deadline: None,
            payload: Payload::encode(Codec::MsgPack, &0).unwrap(),
        };
        self.bus.send(job).await.unwrap();
    }
}

/// What happens a second after a handler has begun.
enum Then {
    HandOver,
    HandOverAndResume,
    Panic,
    Stop,
    /// It had its share with that one job.
    Nothing,
}

/// A handler ends when it should, although the consumer does not: it takes [`HANG`] for each command.
async fn handler_goes_on_while(then: Then) {
    let share = matches!(then, Then::Nothing).then(|| JobShare { fraction: 0.5, other: Arc::default() });
    let (setup, task) = TaskSetup::new(share);
    let supervisor = async {
        setup.send("WT:*").await;
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(setup.progress.in_flight(), 1);
        let (answer, told) = oneshot::channel();
        let is_handing_over = matches!(then, Then::HandOver);
        match then {
            Then::HandOver => setup.requests.send(WorkerRequest::HandOver(answer)).await.ok().unwrap(),
            Then::HandOverAndResume => {
                setup.requests.send(WorkerRequest::HandOver(answer)).await.ok().unwrap();
                setup.requests.send(WorkerRequest::Resume).await.ok().unwrap();
            }
            Then::Panic => setup.panic_signal.notify("told to"),
            Then::Stop => setup.stop.cancel(),
            Then::Nothing => {}
        }
        while setup.progress.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(began.elapsed().as_secs(), WORK.as_secs(), "the handler ends in its own time");
        if is_handing_over {
            assert_eq!(told.await.unwrap().unwrap().schema, 1);
            assert!(began.elapsed() > HANG, "the snapshot waits until the consumer has been paused");
        }
        setup.stop.cancel();
    };
    tokio::join!(task.serve(Double, setup.joined().await), supervisor);
    assert_eq!((setup.progress.done(), setup.progress.failed()), (1, 0));
    assert_eq!(setup.metrics.overruns.with_label_values(&["WT"]).get(), 0);
    assert_eq!(*setup.state.borrow(), WorkerState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_handler_goes_on_while_the_consumer_is_being_paused() {
    handler_goes_on_while(Then::HandOver).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_goes_on_while_the_consumer_is_being_resumed() {
    handler_goes_on_while(Then::HandOverAndResume).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_goes_on_while_a_worker_whose_plugin_panicked_is_being_paused() {
    handler_goes_on_while(Then::Panic).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_goes_on_while_the_consumer_leaves() {
    handler_goes_on_while(Then::Stop).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_goes_on_while_a_worker_that_has_had_its_share_is_being_paused() {
    handler_goes_on_while(Then::Nothing).await;
}

/// A second request while the consumer is busy with the first is carried out after it.
#[tokio::test(start_paused = true)]
async fn a_worker_that_resumed_while_it_was_being_paused_takes_jobs_again() {
    let (setup, task) = TaskSetup::new(None);
    let supervisor = async {
        let (answer, told) = oneshot::channel();
        setup.requests.send(WorkerRequest::HandOver(answer)).await.ok().unwrap();
        setup.requests.send(WorkerRequest::Resume).await.ok().unwrap();
        assert!(told.await.is_err(), "it goes on, and makes no snapshot");
        assert_eq!(*setup.state.borrow(), WorkerState::Running);
        setup.send("WT:*").await;
        let began = Instant::now();
        while setup.progress.done() == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(began.elapsed().as_secs(), (HANG + HANG + WORK).as_secs(), "paused, resumed, done");
        setup.stop.cancel();
    };
    tokio::join!(task.serve(Double, setup.joined().await), supervisor);
    assert_eq!(*setup.state.borrow(), WorkerState::Stopped);
}
