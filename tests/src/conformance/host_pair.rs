//! What checks are made of: fresh names, jobs, and waits with a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mshost_bus::{
    Bus, BusLimits, Codec, Consumer, ConsumerOptions, Delivery, Event, HostBus, Job, Notification, Payload, Route,
    SendError, Subscription,
};
use mshost_core::ids::{JobId, WorkerId, WorkerRef, WorkerType};
use serde::Serialize;

/// The longest wait for one condition.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at a condition that cannot be awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A bus with two hosts, for one check.
pub struct HostPair {
    /// A host.
    pub bus: Arc<dyn HostBus>,
    /// Another host on the same bus; in process the same.
    pub other: Arc<dyn HostBus>,
    /// The bus's codec.
    pub codec: Codec,
    /// The bus's limits.
    pub limits: BusLimits,
    /// See [`super::Engine::SHARED_PREFETCH`].
    pub shared_prefetch: bool,
    /// See [`super::Engine::KNOWS_STARTED_JOBS`].
    pub knows_started_jobs: bool,
    /// Keeps names of concurrent test processes apart.
    process: String,
}

/// Counts up over all checks of a process.
static SERIAL: AtomicU64 = AtomicU64::new(1);

fn serial() -> u64 {
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

impl HostPair {
    /// Sets the stage.
    pub fn new(codec: Codec, [bus, other]: [Arc<dyn HostBus>; 2], limits: BusLimits) -> Self {
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        Self {
            bus,
            other,
            codec,
            limits,
            shared_prefetch: true,
            knows_started_jobs: true,
            process: format!("{}x{started}", std::process::id()),
        }
    }

    /// A worker type that nobody else uses.
    pub fn kind(&self) -> WorkerType {
        WorkerType::new(&format!("T{}-{}", self.process, serial())).unwrap()
    }

    /// A worker of a type, not on the bus yet.
    pub fn worker(&self, kind: &WorkerType) -> WorkerRef {
        WorkerId::new(&format!("{kind}:1460306476102-{}", serial())).unwrap().into()
    }

    /// Puts a new worker of a type on the bus, on the first host.
    pub async fn join(&self, kind: &WorkerType, prefetch: u16) -> (WorkerRef, Box<dyn Consumer>) {
        self.join_at(&*self.bus, kind, prefetch).await
    }

    /// Puts a new worker of a type on the bus, on a given host.
    pub async fn join_at(&self, bus: &dyn Bus, kind: &WorkerType, prefetch: u16) -> (WorkerRef, Box<dyn Consumer>) {
        let worker = self.worker(kind);
        let consumer = limited("join", bus.join(&worker, ConsumerOptions::new(prefetch))).await.unwrap();
        (worker, consumer)
    }

    /// A new job. Its sender and its origin are nobody on the bus.
    pub fn job(&self, route: &[&str], data: &(impl Serialize + ?Sized)) -> Job {
        let id = self.job_id();
        let sender = self.worker(&WorkerType::new("Sender").unwrap());
        Job {
            correlation: id.clone(),
            id,
            route: Route::parse(route).unwrap(),
            origin: sender.clone(),
            sender,
            attempt: 1,
            deadline: None,
            payload: Payload::encode(self.codec, data).unwrap(),
        }
    }

    /// A job id that nobody else uses.
    pub fn job_id(&self) -> JobId {
        JobId::new(&format!("J{}-{}", self.process, serial())).unwrap()
    }

    /// A job for any worker of a type, with a number as its data.
    pub fn numbered(&self, kind: &WorkerType, number: u32) -> Job {
        self.job(&[kind], &number)
    }

    /// Sends from the first host.
    pub async fn send(&self, job: Job) {
        limited("send", self.bus.send(job)).await.unwrap();
    }

    /// Sends numbered jobs, in order.
    pub async fn send_numbers(&self, kind: &WorkerType, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            self.send(self.numbered(kind, number)).await;
        }
    }
}

/// Awaits what must come.
///
/// # Panics
/// Where it does not come in time.
pub async fn limited<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what} did not end within {LIMIT:?}"))
}

/// The next delivery, which must come.
pub async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    limited("next", consumer.next()).await.expect("the consumer has ended")
}

/// Takes and acks the next delivery; gives its number.
pub async fn next_number(consumer: &mut Box<dyn Consumer>) -> u32 {
    let delivery = next(consumer).await;
    let number = number(&delivery.job);
    delivery.ack().await.unwrap();
    number
}

/// The number that [`HostPair::numbered`] put into a job.
pub fn number(job: &Job) -> u32 {
    job.payload.decode().unwrap()
}

/// Waits until `look` finds what it looks for.
///
/// # Panics
/// Where it does not in time.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = tokio::time::Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > LIMIT => panic!("{what}: not within {LIMIT:?}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// Waits for a notification that `wanted` recognises, past those of other checks.
pub async fn hear<T>(subscription: &mut Box<dyn Subscription>, mut wanted: impl FnMut(Notification) -> Option<T>) -> T {
    limited("hearing a notification", async {
        loop {
            match subscription.next().await.expect("the subscription has ended") {
                Event::Notification(notification) => {
                    if let Some(found) = wanted(notification) {
                        return found;
                    }
                }
                Event::Missed(_) | Event::Reconnected => {}
            }
        }
    })
    .await
}

/// Fails unless sending was refused for want of a worker.
#[track_caller]
pub fn assert_no_worker(result: &Result<(), SendError>, job: &Job) {
    assert_eq!(result, &Err(SendError::NoWorker(job.route.target().clone())));
}
