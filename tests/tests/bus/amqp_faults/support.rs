//! Buses, jobs and waits for these tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mshost_bus::{Absent, Bus, BusLimits, BusState, Codec, Consumer, ConsumerOptions, Durability, Job, Payload, Route};
use mshost_bus_amqp::{AmqpBus, AmqpOptions};
use mshost_core::ids::{JobId, WorkerId, WorkerRef, WorkerType};
use mshost_core::metrics::Metrics;
use mshost_topology::BusTls;

/// The longest wait for one condition; a broker may have to start in it.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Long enough that a sender does not give up while a broker restarts on a busy machine.
pub fn patient() -> BusLimits {
    BusLimits { send_timeout: LIMIT, ..BusLimits::default() }
}

/// A host on a broker.
pub struct ConnectedBus {
    pub bus: Arc<AmqpBus>,
    pub metrics: Arc<Metrics>,
}

/// How a host uses the broker, unless a test wants it otherwise.
pub fn options(url: &str, limits: BusLimits) -> AmqpOptions {
    AmqpOptions {
        url: url.into(),
        tls: BusTls::default(),
        codec: Codec::Json,
        durability: Durability::Durable,
        absent: Absent::Fail,
        limits,
        host: "test".into(),
        metrics: Metrics::new().unwrap(),
    }
}

/// A host that may not be connected yet.
pub fn host(options: AmqpOptions) -> ConnectedBus {
    let metrics = Arc::clone(&options.metrics);
    ConnectedBus { bus: Arc::new(AmqpBus::connect(options).unwrap()), metrics }
}

/// A host that is connected.
pub async fn connected(url: &str, limits: BusLimits) -> ConnectedBus {
    connected_as(options(url, limits)).await
}

/// A host that is connected, with options of its own.
pub async fn connected_as(options: AmqpOptions) -> ConnectedBus {
    let host = host(options);
    state(&host.bus, |state| *state == BusState::Connected).await;
    host
}

/// Waits for a state of the bus.
pub async fn state(bus: &AmqpBus, wanted: impl FnMut(&BusState) -> bool) -> BusState {
    limited("the state of the bus", bus.state().wait_for(wanted)).await.unwrap().clone()
}

/// Awaits what must come.
pub async fn limited<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

/// Waits until `look` is true.
pub async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    limited(what, async {
        while !look().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn serial() -> u32 {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// A worker type that no other test uses.
pub fn kind() -> WorkerType {
    WorkerType::new(&format!("T{}", serial())).unwrap()
}

/// A new worker of a type.
pub fn worker(kind: &WorkerType) -> WorkerRef {
    WorkerId::new(&format!("{kind}:1460306476102-{}", serial())).unwrap().into()
}

/// Puts a new worker on the bus.
pub async fn join(bus: &AmqpBus, kind: &WorkerType, prefetch: u16) -> (WorkerRef, Box<dyn Consumer>) {
    let worker = worker(kind);
    let consumer = limited("join", bus.join(&worker, ConsumerOptions::new(prefetch))).await.unwrap();
    (worker, consumer)
}

/// A job with a number as its data.
pub fn job(target: &str, number: u32) -> Job {
    let id = JobId::new(&format!("J{}", serial())).unwrap();
    let sender = worker(&WorkerType::new("Sender").unwrap());
    Job {
        correlation: id.clone(),
        id,
        route: Route::parse([target]).unwrap(),
        origin: sender.clone(),
        sender,
        attempt: 1,
        deadline: None,
        payload: Payload::encode(Codec::Json, &number).unwrap(),
    }
}
