//! What one hop on the embedded bus costs, beside the same hop through bare tokio channels, in the same run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_bus::{Bus, BusLimits, Codec, Consumer, ConsumerOptions, Job, Payload, Route};
use mshost_bus_embedded::EmbeddedBus;
use mshost_core::ids::{JobId, WorkerId, WorkerRef};
use tokio::sync::mpsc;

/// Bytes in each job: about the size of the movies in MessagePack.
pub const PAYLOAD: usize = 200;

/// Nanoseconds of one hop: a job on its way from one worker to another, taken and done.
#[derive(Debug, Clone, Copy)]
pub struct Hops {
    /// Two tasks that pass a job to and fro over the embedded bus: send, wake, next, ack.
    pub embedded_ping_pong: f64,
    /// The same over two `tokio::sync::mpsc` channels: send, wake, recv.
    pub mpsc_ping_pong: f64,
    /// One task that sends to itself over the embedded bus: send, next, ack, nobody to wake.
    pub embedded_alone: f64,
    /// The same over a `tokio::sync::mpsc` channel.
    pub mpsc_alone: f64,
    /// [`Bus::try_send`] into a queue, alone.
    pub try_send: f64,
}

/// Measures all of them, `hops` each, on a `current_thread` runtime or on one with two threads.
///
/// # Panics
/// Where the bus fails.
pub fn measure(hops: u32, two_threads: bool) -> Hops {
    let runtime = if two_threads {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    };
    runtime.unwrap().block_on(async {
        let per_hop = |taken: Duration| taken.as_nanos() as f64 / f64::from(hops);
        Hops {
            embedded_ping_pong: per_hop(embedded_ping_pong(hops).await),
            mpsc_ping_pong: per_hop(mpsc_ping_pong(hops).await),
            embedded_alone: per_hop(embedded_alone(hops).await),
            mpsc_alone: per_hop(mpsc_alone(hops).await),
            try_send: per_hop(try_send(hops).await),
        }
    })
}

fn bus() -> Arc<dyn Bus> {
    Arc::new(EmbeddedBus::new(BusLimits { queue: usize::MAX, ..BusLimits::default() }, Codec::MsgPack))
}

/// A worker of this type, always the same.
///
/// # Panics
/// Where this is no type.
pub fn worker(kind: &str) -> WorkerRef {
    WorkerId::new(&format!("{kind}:1460306476102")).unwrap().into()
}

/// A job for this address, always the same.
///
/// # Panics
/// Where this is no address.
pub fn job(route: &str) -> Job {
    let id = JobId::new("J1460306476102").unwrap();
    Job {
        correlation: id.clone(),
        id,
        route: Route::parse([route]).unwrap(),
        sender: worker("Sender"),
        origin: worker("Sender"),
        attempt: 1,
        deadline: None,
        payload: Payload::encode(Codec::MsgPack, &[0_u8; PAYLOAD][..]).unwrap(),
    }
}

async fn join(bus: &dyn Bus, kind: &str) -> Box<dyn Consumer> {
    bus.join(&worker(kind), ConsumerOptions::new(1)).await.unwrap()
}

async fn embedded_ping_pong(hops: u32) -> Duration {
    let bus = bus();
    let (mut left, mut right) = (join(&*bus, "Left").await, join(&*bus, "Right").await);
    let (to_left, to_right) = (job("Left"), job("Right"));
    let answering = Arc::clone(&bus);
    let task = tokio::spawn(async move {
        for _ in 0..hops / 2 {
            let delivery = right.next().await.unwrap();
            answering.try_send(to_left.clone()).unwrap().unwrap();
            delivery.ack().await.unwrap();
        }
    });
    let asking = tokio::spawn(async move {
        let start = Instant::now();
        for _ in 0..hops / 2 {
            bus.try_send(to_right.clone()).unwrap().unwrap();
            left.next().await.unwrap().ack().await.unwrap();
        }
        start.elapsed()
    });
    task.await.unwrap();
    asking.await.unwrap()
}

async fn mpsc_ping_pong(hops: u32) -> Duration {
    let (to_left, mut left) = mpsc::channel(1);
    let (to_right, mut right) = mpsc::channel(1);
    let (for_left, for_right) = (job("Left"), job("Right"));
    let task = tokio::spawn(async move {
        for _ in 0..hops / 2 {
            let taken: Job = right.recv().await.unwrap();
            to_left.try_send(for_left.clone()).unwrap();
            drop(taken);
        }
    });
    let asking = tokio::spawn(async move {
        let start = Instant::now();
        for _ in 0..hops / 2 {
            to_right.try_send(for_right.clone()).unwrap();
            drop(left.recv().await.unwrap());
        }
        start.elapsed()
    });
    task.await.unwrap();
    asking.await.unwrap()
}

async fn embedded_alone(hops: u32) -> Duration {
    let bus = bus();
    let mut consumer = join(&*bus, "Alone").await;
    let job = job("Alone");
    let start = Instant::now();
    for _ in 0..hops {
        bus.try_send(job.clone()).unwrap().unwrap();
        consumer.next().await.unwrap().ack().await.unwrap();
    }
    start.elapsed()
}

async fn mpsc_alone(hops: u32) -> Duration {
    let (to, mut from) = mpsc::channel(1);
    let job = job("Alone");
    let start = Instant::now();
    for _ in 0..hops {
        to.try_send(job.clone()).unwrap();
        drop(from.recv().await.unwrap());
    }
    start.elapsed()
}

async fn try_send(hops: u32) -> Duration {
    /// As many as still stay in the processor's cache.
    const BATCH: u32 = 200;
    let bus = bus();
    let mut consumer = join(&*bus, "Busy").await;
    let job = job("Busy");
    let mut taken = Duration::ZERO;
    for _ in 0..hops.div_ceil(BATCH) {
        let jobs: Vec<_> = (0..BATCH).map(|_| job.clone()).collect();
        let start = Instant::now();
        for job in jobs {
            bus.try_send(job).unwrap().unwrap();
        }
        taken += start.elapsed();
        for _ in 0..BATCH {
            consumer.next().await.unwrap().ack().await.unwrap();
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_figure_is_measured() {
        let hops = super::measure(100, true);
        for figure in
            [hops.embedded_ping_pong, hops.mpsc_ping_pong, hops.embedded_alone, hops.mpsc_alone, hops.try_send]
        {
            assert!(figure > 0.0, "{hops:?}");
        }
    }
}
