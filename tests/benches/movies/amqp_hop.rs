//! One job on RabbitMQ, sent, delivered and acked, against a message of bare lapin at the same durability.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mshost_bus::{Absent, Bus, BusLimits, BusState, Codec, Consumer, ConsumerOptions, Durability, Job};
use mshost_bus_amqp::{AmqpBus, AmqpOptions};
use mshost_core::ids::JobId;
use mshost_core::metrics::Metrics;
use mshost_tests::baseline::amqp::Chain;
use mshost_tests::bench_table::Table;
use mshost_tests::broker::Broker;
use mshost_tests::embedded_hop::{PAYLOAD, job, worker};
use mshost_tests::throughput::{self, PendingMessages, Throughput, ThroughputError, within};
use mshost_topology::BusTls;
use tokio::task::JoinHandle;

use crate::BenchResult;
use crate::turns::compare;

pub async fn figures(table: &mut Table, each: Duration) -> BenchResult {
    let broker = Broker::start();
    for durability in [Durability::Durable, Durability::Transient] {
        // What is declared differs between the two, so each has a bus of its own.
        let name = format!("{durability:?}").to_lowercase();
        let url = broker.url_of(&name);
        for in_flight in [1, 64, 512] {
            let ours = Hop::open(&url, durability, in_flight).await?;
            let durable = durability == Durability::Durable;
            let bare = Chain { url: url.clone(), hops: 1, in_flight, payload: PAYLOAD, durable }.open().await?;
            let what = format!("RabbitMQ hop, {name}, {in_flight} in flight");
            let (hop, chain) = (
                async |turn| Ok(ours.run_for(turn).await?.figures()),
                async |turn| Ok(bare.run_for(turn).await?.figures()),
            );
            compare(table, &what, "jobs/s", each, hop, chain).await?;
            ours.close().await;
            bare.close().await?;
        }
    }
    Ok(())
}

/// A bus with one worker that does nothing but take and ack.
struct Hop {
    bus: Arc<AmqpBus>,
    in_flight: u16,
    ends: PendingMessages,
    worker: JoinHandle<()>,
}

impl Hop {
    async fn open(url: &str, durability: Durability, in_flight: u16) -> BenchResult<Self> {
        let bus = Arc::new(AmqpBus::connect(AmqpOptions {
            url: url.to_owned(),
            tls: BusTls::default(),
            codec: Codec::MsgPack,
            durability,
            absent: Absent::Fail,
            limits: BusLimits::default(),
            host: "bench".into(),
            metrics: Metrics::new()?,
        })?);
        within("connecting", bus.state().wait_for(|state| *state == BusState::Connected)).await?;
        let consumer = within("joining", bus.join(&worker("Hop"), ConsumerOptions::new(in_flight))).await?;
        let ends = PendingMessages::default();
        let worker = tokio::spawn(take(consumer, ends.clone(), in_flight.into()));
        Ok(Self { bus, in_flight, ends, worker })
    }

    async fn run_for(&self, duration: Duration) -> Result<Throughput, ThroughputError> {
        let (bus, template) = (Arc::clone(&self.bus), job("Hop"));
        let send = move |id: String| {
            let (bus, job) = (Arc::clone(&bus), template.clone());
            async move {
                let id = JobId::new(&id)?;
                Ok(bus.send(Job { correlation: id.clone(), id, ..job }).await?)
            }
        };
        throughput::run(self.in_flight.into(), duration, &self.ends, send).await
    }

    async fn close(self) {
        self.worker.abort();
        // Its end drops the consumer, which the bus waits for.
        let _ = self.worker.await;
        self.bus.close().await;
    }
}

/// Takes and acks, as a worker of the host does.
async fn take(mut consumer: Box<dyn Consumer>, ends: PendingMessages, in_flight: usize) {
    let mut acks = FuturesUnordered::new();
    loop {
        tokio::select! {
            // A job whose ack fails comes again.
            Some(_) = acks.next(), if !acks.is_empty() => {}
            delivery = consumer.next(), if acks.len() < in_flight => {
                let Some(delivery) = delivery else { return };
                ends.reached(&delivery.job.id);
                acks.push(delivery.ack());
            }
        }
    }
}
