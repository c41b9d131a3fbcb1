//! A broker that is killed just after a quorum queue was made: RabbitMQ forgets its data, and it never has a leader again.

use std::collections::BTreeSet;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use mshost_bus::{Bus, BusState, ConsumerOptions, Durability};
use mshost_bus_amqp::AmqpOptions;
use mshost_tests::broker::Broker;

use super::support::{
    ConnectedBus, connected_as, eventually, job, join, kind, limited, options, patient, state, worker,
};

async fn replicated(broker: &Broker) -> ConnectedBus {
    connected_as(AmqpOptions { durability: Durability::Replicated, ..options(&broker.url(), patient()) }).await
}

async fn kill_and_restart(broker: &mut Broker, host: &ConnectedBus) {
    broker.kill();
    state(&host.bus, |state| matches!(state, BusState::Away { .. })).await;
    broker.restart();
    state(&host.bus, |state| *state == BusState::Connected).await;
}

/// Whether the broker has a queue.
async fn has(connection: &Connection, queue: &str) -> bool {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let channel = connection.create_channel().await.unwrap();
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_for_a_worker_that_has_just_joined_outlives_the_broker() {
    let mut broker = Broker::start();
    let host = replicated(&broker).await;
    let (first, mut consumer) = join(&host.bus, &kind(), 1).await;
    for (number, target) in [first.worker_type.as_ref(), first.id.as_ref()].into_iter().enumerate() {
        host.bus.send(job(target, number as u32)).await.unwrap();
    }
    kill_and_restart(&mut broker, &host).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        let delivery = limited("a job", consumer.next()).await.unwrap();
        let number: u32 = delivery.job.payload.decode().unwrap();
        // What came by the broken connection cannot be settled. It has to come again.
        if delivery.ack().await.is_ok() {
            seen.insert(number);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_joins_while_the_broker_dies_has_its_place_later() {
    let mut broker = Broker::start();
    let host = replicated(&broker).await;
    let kind = kind();
    let (_, _others) = join(&host.bus, &kind, 1).await;
    let connection = Connection::connect(&broker.url(), ConnectionProperties::default()).await.unwrap();
    let (bus, worker) = (host.bus.clone(), worker(&kind));
    let queue = format!("mshost.id.{}", worker.id);
    let joining = tokio::spawn({
        let worker = worker.clone();
        async move { bus.join(&worker, ConsumerOptions::new(1)).await }
    });
    eventually("its queue", async || has(&connection, &queue).await).await;
    kill_and_restart(&mut broker, &host).await;
    let mut consumer = limited("join", joining).await.unwrap().unwrap();
    limited("send", host.bus.send(job(&worker.id, 1))).await.unwrap();
    limited("the job", consumer.next()).await.unwrap().ack().await.unwrap();
}
