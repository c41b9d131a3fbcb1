//! What the engine costs: jobs going round a ring of workers, next to the same ring made of bare lapin at the same
//! durability, in turns on one broker. Run it with `cargo test --test amqp_hops -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};
use mshost::bus::amqp::{AmqpBus, AmqpOptions};
use mshost::bus::{Absent, Bus, BusLimits, BusState, Codec, ConsumerOptions, Durability, Job, Payload, Route};
use mshost::ids::{JobId, WorkerId, WorkerType};
use mshost::metrics::Metrics;
use mshost::topology::BusTls;
use mshost_tests::broker::Broker;
use tokio::sync::mpsc;

/// Workers in the ring.
const HOPS: usize = 4;
/// The most that one worker has in hand.
const PREFETCH: u16 = 64;
const PAYLOAD: usize = 200;

#[test]
#[ignore = "a measurement, not a check"]
fn a_hop_costs_little_more_than_bare_lapin() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for (in_flight, loops) in [(1, 150), (64, 1_500)] {
            let mut best = [0.0_f64; 2];
            for _ in 0..4 {
                best[0] = best[0].max(bare(in_flight, loops).await);
                best[1] = best[1].max(ours(in_flight, loops).await);
            }
            let [bare, ours] = best;
            println!(
                "{HOPS} hops, {in_flight} in flight: bare lapin {bare:.0} loops/s, mshost {ours:.0} loops/s, {:.0} %",
                100.0 * ours / bare
            );
        }
    });
}

/// Loops per second through the engine.
async fn ours(in_flight: usize, loops: usize) -> f64 {
    let options = AmqpOptions {
        url: Broker::shared().url(),
        tls: BusTls::default(),
        codec: Codec::MsgPack,
        durability: Durability::Durable,
        absent: Absent::Fail,
        limits: BusLimits::default(),
        host: "hops".into(),
        metrics: Metrics::new().unwrap(),
    };
    let bus = Arc::new(AmqpBus::connect(options).unwrap());
    bus.state().wait_for(|state| *state == BusState::Connected).await.unwrap();
    let (round, mut rounds) = mpsc::channel(1_024);
    let mut tasks = Vec::new();
    for hop in 0..HOPS {
        let worker = WorkerId::new(&format!("Hop{hop}:1460306476102")).unwrap().into();
        let mut consumer = bus.join(&worker, ConsumerOptions::new(PREFETCH)).await.unwrap();
        let (bus, round) = (Arc::clone(&bus), round.clone());
        tasks.push(tokio::spawn(async move {
            while let Some(delivery) = consumer.next().await {
                let (bus, round) = (Arc::clone(&bus), round.clone());
                tokio::spawn(async move {
                    let route = Route::parse([format!("Hop{}", (hop + 1) % HOPS)]).unwrap();
                    // At the end the bus closes on whatever is still going round.
                    let sent = bus.send(Job { route, ..delivery.job.clone() }).await;
                    if sent.is_ok() && delivery.ack().await.is_ok() && hop == 0 {
                        let _ = round.send(()).await;
                    }
                });
            }
        }));
    }
    let sender = WorkerId::new("Sender:1460306476102").unwrap();
    for number in 0..in_flight {
        let id = JobId::new(&format!("J{number}")).unwrap();
        let job = Job {
            correlation: id.clone(),
            id,
            route: Route::new([mshost_plugin_api::Address::Any(WorkerType::new("Hop0").unwrap())], 0).unwrap(),
            origin: sender.clone().into(),
            sender: sender.clone().into(),
            attempt: 1,
            deadline: None,
            payload: Payload::encode(Codec::MsgPack, &"x".repeat(PAYLOAD)).unwrap(),
        };
        bus.send(job).await.unwrap();
    }
    let rate = count(&mut rounds, loops).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    bus.close().await;
    empty(&(0..HOPS).map(|hop| format!("mshost.job.Hop{hop}")).collect::<Vec<_>>()).await;
    rate
}

/// Loops per second through the least that does the same with lapin alone.
async fn bare(in_flight: usize, loops: usize) -> f64 {
    let url = Broker::shared().url();
    let out = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let back = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let queues: Vec<_> = (0..HOPS).map(|hop| format!("bare.{hop}")).collect();
    let setup = out.create_channel().await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    setup.exchange_declare("bare".into(), ExchangeKind::Direct, durable, FieldTable::default()).await.unwrap();
    for queue in &queues {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        setup.queue_declare(queue.as_str().into(), durable, FieldTable::default()).await.unwrap();
        let name = queue.as_str();
        setup
            .queue_bind(name.into(), "bare".into(), name.into(), QueueBindOptions::default(), FieldTable::default())
            .await
            .unwrap();
    }
    let properties = BasicProperties::default().with_delivery_mode(2).with_message_id("J1460306476102".into());
    let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let (round, mut rounds) = mpsc::channel(1_024);
    let mut tasks = Vec::new();
    for hop in 0..HOPS {
        let publish = out.create_channel().await.unwrap();
        publish.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let channel = back.create_channel().await.unwrap();
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.unwrap();
        let mut stream = channel
            .basic_consume(
                queues[hop].as_str().into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        let (next, properties, round) = (queues[(hop + 1) % HOPS].clone(), properties.clone(), round.clone());
        tasks.push(tokio::spawn(async move {
            while let Some(Ok(delivery)) = stream.next().await {
                let published = publish
                    .basic_publish("bare".into(), next.as_str().into(), mandatory, &delivery.data, properties.clone())
                    .await;
                let Ok(confirm) = published else { return };
                let round = round.clone();
                tokio::spawn(async move {
                    let confirmed = confirm.await.is_ok_and(|confirm| confirm.is_ack());
                    if confirmed && delivery.ack(BasicAckOptions::default()).await.is_ok() && hop == 0 {
                        let _ = round.send(()).await;
                    }
                });
            }
        }));
    }
    for _ in 0..in_flight {
        let body = vec![b'x'; PAYLOAD + 100];
        setup
            .basic_publish("bare".into(), queues[0].as_str().into(), mandatory, &body, properties.clone())
            .await
            .unwrap();
    }
    let rate = count(&mut rounds, loops).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let _ = back.close(200, "done".into()).await;
    let _ = out.close(200, "done".into()).await;
    empty(&queues).await;
    rate
}

/// Rounds per second, after a start that does not count.
async fn count(rounds: &mut mpsc::Receiver<()>, loops: usize) -> f64 {
    for _ in 0..loops / 5 {
        rounds.recv().await.unwrap();
    }
    let start = Instant::now();
    for _ in 0..loops {
        rounds.recv().await.unwrap();
    }
    loops as f64 / start.elapsed().as_secs_f64()
}

/// Takes away what the ring has left in its queues.
async fn empty(queues: &[String]) {
    let connection = Connection::connect(&Broker::shared().url(), ConnectionProperties::default()).await.unwrap();
    for queue in queues {
        let channel = connection.create_channel().await.unwrap();
        let _ = channel.queue_purge(queue.as_str().into(), lapin::options::QueuePurgeOptions::default()).await;
    }
    let _ = connection.close(200, "done".into()).await;
}
