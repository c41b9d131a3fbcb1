//! What only this engine promises. What every engine promises is in the conformance suite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backpressure;
mod closing;
mod consumers;
mod dead_lettering;
mod dead_letters;
mod interleavings;
mod journal;
mod journal_kills;
mod journal_model;
mod offline;
mod reentrancy;
mod stress;
mod worker_gone;

use std::time::{Duration, SystemTime};

use mshost_bus::{Bus, BusLimits, Codec, Consumer, ConsumerOptions, Delivery, HostBus, Job, Payload, Route};
use mshost_core::ids::{JobId, WorkerId, WorkerRef};

use super::EmbeddedBus;

/// The longest wait for what must come.
const LIMIT: Duration = Duration::from_secs(30);

fn bus(limits: BusLimits) -> EmbeddedBus {
    EmbeddedBus::new(limits, Codec::Json)
}

fn worker(id: &str) -> WorkerRef {
    WorkerId::new(id).unwrap().into()
}

/// The worker that most tests need: `W:1460306476102`.
const W: &str = "W:1460306476102";

async fn join(bus: &EmbeddedBus, id: &str, prefetch: u16) -> Box<dyn Consumer> {
    bus.join(&worker(id), ConsumerOptions::new(prefetch)).await.unwrap()
}

/// A job whose id and data are its number.
fn job(to: &str, number: u32) -> Job {
    let id = JobId::new(&format!("J{number}")).unwrap();
    Job {
        correlation: id.clone(),
        id,
        route: Route::parse([to]).unwrap(),
        sender: worker("S:1460306476103"),
        origin: worker("S:1460306476103"),
        attempt: 1,
        deadline: None,
        payload: Payload::encode(Codec::Json, &number).unwrap(),
    }
}

fn number(job: &Job) -> u32 {
    job.payload.decode().unwrap()
}

async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    limited(consumer.next()).await.expect("the consumer has ended")
}

async fn next_number(consumer: &mut Box<dyn Consumer>) -> u32 {
    let delivery = next(consumer).await;
    let number = number(&delivery.job);
    delivery.ack().await.unwrap();
    number
}

async fn limited<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it did not come in time")
}

/// Polls once, without a waker that matters.
fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
