//! A worker of ours without a host around it: what tests send from, and send to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use mshost_bus::{
    Absent, Announcement, Bus, BusLimits, BusState, Codec, Consumer, ConsumerOptions, DeadLetter, Durability, Event,
    Failure, HostBus, Job, Notification, Payload, Route, SendError, Subscription,
};
use mshost_bus_amqp::{AmqpBus, AmqpOptions};
use mshost_core::ids::{JobId, WorkerId, WorkerRef};
use mshost_core::metrics::Metrics;
use mshost_tests::host_process::LIMIT;
use mshost_tests::wait::until;
use mshost_topology::BusTls;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Runtime;

/// On the bus until dropped. It acks whatever comes, and keeps it.
pub struct BareWorker {
    runtime: Runtime,
    bus: Arc<AmqpBus>,
    worker: WorkerRef,
    inbox: Arc<Mutex<Vec<Job>>>,
    errors: Arc<Mutex<Vec<Failure>>>,
}

impl BareWorker {
    /// A worker of type `NT`.
    pub fn join(url: &str, codec: Codec) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let worker = WorkerRef::from(WorkerId::new(&format!("NT:1460306476102-{}", serial())).unwrap());
        let (inbox, errors) = (Arc::default(), Arc::default());
        let bus = runtime.block_on(async {
            let (metrics, limits) = (Metrics::new().unwrap(), BusLimits::default());
            let options = AmqpOptions {
                url: url.into(),
                tls: BusTls::default(),
                codec,
                durability: Durability::default(),
                absent: Absent::default(),
                limits,
                host: "native".into(),
                metrics,
            };
            let bus = Arc::new(AmqpBus::connect(options).unwrap());
            bus.state().wait_for(|state| *state == BusState::Connected).await.unwrap();
            let subscription = bus.subscribe().await.unwrap();
            tokio::spawn(listen(Arc::clone(&bus), subscription, worker.clone(), Arc::clone(&errors)));
            let consumer = bus.join(&worker, ConsumerOptions::new(64)).await.unwrap();
            tokio::spawn(take(consumer, Arc::clone(&inbox)));
            announce(&bus, &worker, false).await;
            bus
        });
        Self { runtime, bus, worker, inbox, errors }
    }

    pub fn id(&self) -> &str {
        &self.worker.id
    }

    /// Sends a job and returns its id.
    pub fn send(&self, to: &[&str], data: &Value) -> Result<JobId, SendError> {
        self.send_before(None, to, data)
    }

    /// Sends a job that is not wanted any more from then on.
    pub fn send_before(&self, deadline: Option<SystemTime>, to: &[&str], data: &Value) -> Result<JobId, SendError> {
        let id = JobId::new(&format!("JN{}", serial())).unwrap();
        let job = Job {
            id: id.clone(),
            correlation: id.clone(),
            route: Route::parse(to).unwrap(),
            sender: self.worker.clone(),
            origin: self.worker.clone(),
            attempt: 1,
            deadline,
            payload: Payload::encode(self.bus.codec(), data).unwrap(),
        };
        self.runtime.block_on(self.bus.send(job)).map(|()| id)
    }

    /// As [`BareWorker::send`], as soon as there is somebody to send to.
    pub fn send_once_possible(&self, to: &[&str], data: &Value) -> JobId {
        until(&format!("somebody who serves {}", to[0]), LIMIT, || self.send(to, data).ok())
    }

    /// Waits until this many jobs have come, and returns all of them.
    pub fn until_jobs(&self, count: usize) -> Vec<Job> {
        until(&format!("{count} jobs at {}", self.id()), LIMIT, || {
            Some(self.inbox.lock().clone()).filter(|jobs| jobs.len() >= count)
        })
    }

    /// The dead letters of the bus.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.runtime.block_on(self.bus.dead_letters().list(1_000)).unwrap()
    }

    /// The jobs that it has heard to have failed.
    pub fn errors(&self) -> Vec<JobId> {
        self.errors.lock().iter().map(|failure| failure.id.clone()).collect()
    }

    /// Waits until it has heard that this job failed.
    pub fn until_error(&self, id: &JobId) -> Failure {
        until(&format!("an error about {id}"), LIMIT, || {
            self.errors.lock().iter().find(|failure| failure.id == *id).cloned()
        })
    }
}

impl Drop for BareWorker {
    fn drop(&mut self) {
        self.runtime.block_on(self.bus.close());
    }
}

async fn announce(bus: &AmqpBus, worker: &WorkerRef, resend: bool) {
    let worker = Announcement { worker: worker.clone(), host: Some("native".into()) };
    let _ = bus.publish(Notification::New { worker, resend }).await;
}

async fn listen(
    bus: Arc<AmqpBus>,
    mut subscription: Box<dyn Subscription>,
    worker: WorkerRef,
    errors: Arc<Mutex<Vec<Failure>>>,
) {
    while let Some(event) = subscription.next().await {
        match event {
            Event::Notification(Notification::GetAll) => announce(&bus, &worker, true).await,
            Event::Notification(Notification::Error(failure)) if failure.target.id == worker.id => {
                errors.lock().push(failure);
            }
            _ => {}
        }
    }
}

async fn take(mut consumer: Box<dyn Consumer>, inbox: Arc<Mutex<Vec<Job>>>) {
    while let Some(delivery) = consumer.next().await {
        let job = delivery.job.clone();
        if delivery.ack().await.is_ok() {
            inbox.lock().push(job);
        }
    }
}

fn serial() -> u32 {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}
