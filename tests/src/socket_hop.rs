//! What a hop costs that goes to a worker in a process of its own and back, beside one to a worker in the host, in the same
//! run. Both ends of the socket are here; each has a thread and a runtime of its own, as two processes have.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mshost_bus::{Bus, BusLimits, Codec, Consumer, ConsumerOptions, HostBus};
use mshost_bus_embedded::EmbeddedBus;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::embedded_hop::{job, worker};
use crate::remote_bus::join_across;

/// Nanoseconds for a job to go to a worker that sends it back, and to be done at both ends.
#[derive(Debug, Clone, Copy)]
pub struct SocketHops {
    /// To a worker of the host, on a thread of its own.
    pub in_host: f64,
    /// To a worker beyond a socket.
    pub over_socket: f64,
}

/// Measures both, with so many jobs under way at a time.
///
/// # Panics
/// Where the bus fails.
#[must_use]
pub fn measure(jobs: u32, in_flight: u16) -> SocketHops {
    let per_job = |taken: Duration| taken.as_nanos() as f64 / f64::from(jobs);
    SocketHops {
        in_host: per_job(there_and_back(jobs, in_flight, false)),
        over_socket: per_job(there_and_back(jobs, in_flight, true)),
    }
}

fn there_and_back(jobs: u32, in_flight: u16, over_socket: bool) -> Duration {
    let host = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let limits = BusLimits::default();
    let real: Arc<dyn HostBus> = host.block_on(async { Arc::new(EmbeddedBus::new(limits.clone(), Codec::MsgPack)) });
    let (far, serving) = (Arc::clone(&real), host.handle().clone());
    let (ready, is_ready) = oneshot::channel();
    let beyond = std::thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let bus: Arc<dyn Bus> = if over_socket { Arc::new(join_across(far, &limits, &serving)) } else { far };
            let consumer = bus.join(&worker("Far"), ConsumerOptions::new(in_flight)).await.unwrap();
            ready.send(()).unwrap();
            send_back(&*bus, consumer, jobs).await;
        });
    });
    let taken = host.block_on(async {
        let near = real.join(&worker("Near"), ConsumerOptions::new(in_flight)).await.unwrap();
        is_ready.await.unwrap();
        tokio::spawn(async move { drive(&*real, near, jobs, in_flight).await }).await.unwrap()
    });
    beyond.join().unwrap();
    taken
}

/// As a worker does it: several jobs at a time, each sent on and then acked.
async fn send_back(bus: &dyn Bus, mut consumer: Box<dyn Consumer>, jobs: u32) {
    let (mut left, mut doing) = (jobs, FuturesUnordered::new());
    while left > 0 {
        tokio::select! {
            biased;
            Some(()) = doing.next(), if !doing.is_empty() => left -= 1,
            Some(delivery) = consumer.next() => doing.push(async move {
                match bus.try_send(job("Near")) {
                    Ok(sent) => sent.unwrap(),
                    Err(job) => bus.send(*job).await.unwrap(),
                }
                delivery.ack().await.unwrap();
            }),
        }
    }
}

async fn drive(bus: &dyn Bus, mut consumer: Box<dyn Consumer>, jobs: u32, in_flight: u16) -> Duration {
    let mut to_send = jobs.saturating_sub(in_flight.into());
    let start = Instant::now();
    for _ in 0..jobs.min(in_flight.into()) {
        bus.send(job("Far")).await.unwrap();
    }
    for _ in 0..jobs {
        let delivery = consumer.next().await.unwrap();
        if to_send > 0 {
            to_send -= 1;
            bus.send(job("Far")).await.unwrap();
        }
        delivery.ack().await.unwrap();
    }
    start.elapsed()
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_are_measured() {
        for in_flight in [1, 64] {
            let hops = super::measure(500, in_flight);
            assert!(hops.in_host > 0.0 && hops.over_socket > 0.0, "{hops:?}");
        }
    }
}
