//! A cluster of three nodes that loses one under load.
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use mshost_tests::cluster::{Cluster, NODES};
use mshost_tests::history::HistoryVerdict;
use mshost_tests::history::scenario::{HostPlacement, PipelineSetup, Scenario};
use mshost_tests::tcp_proxy::Proxy;
use mshost_tests::wait::poll;

const QUEUE: &str = "quorum";
const BEFORE_AND_AFTER: u32 = 500;

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn publish(channel: &Channel, number: u32) {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let data = number.to_be_bytes();
    let confirm = channel.basic_publish("".into(), QUEUE.into(), options, &data, properties).await.unwrap();
    assert!(confirm.await.unwrap().is_ack(), "{number} is not confirmed");
}

/// The harness itself: a quorum queue, with bare lapin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_queue_outlives_the_node_of_its_leader() {
    let mut cluster = Cluster::start();
    let (_declaring, channel_of_first) = channel(&cluster.url(0)).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    // Its leader is on the node that it was declared on.
    channel_of_first.queue_declare(QUEUE.into(), durable, arguments).await.unwrap();
    let (_publishing, publisher) = channel(&cluster.url(1)).await;
    publisher.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    for number in 0..BEFORE_AND_AFTER {
        publish(&publisher, number).await;
    }
    cluster.kill(0);
    for number in BEFORE_AND_AFTER..2 * BEFORE_AND_AFTER {
        publish(&publisher, number).await;
    }
    let (_consuming, consumer) = channel(&cluster.url(2)).await;
    let mut stream = consumer
        .basic_consume(QUEUE.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 2 * BEFORE_AND_AFTER as usize {
        let delivery = tokio::time::timeout(Duration::from_secs(30), stream.next());
        let delivery = delivery.await.expect("all that was confirmed").unwrap().unwrap();
        seen.insert(u32::from_be_bytes(delivery.data[..].try_into().unwrap()));
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    cluster.restart(0);
    let online = cluster.ctl(0, ["list_queues", "--no-table-headers", "online"]);
    assert_eq!(online.matches('@').count(), NODES, "the queue has all its members again: {online}");
    assert!(seen.into_iter().eq(0..2 * BEFORE_AND_AFTER));
}

/// A pipeline on two hosts, one node killed under load and started again, and so the next. What was accepted is accounted
/// for at the end.
fn nodes_die_under_load(setup: &PipelineSetup) -> HistoryVerdict {
    let mut cluster = Cluster::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // Each host prefers a node of its own, as behind a load balancer.
    let proxies = [0, 1].map(|preferred| {
        let mut addrs = cluster.addrs();
        addrs.rotate_left(preferred);
        runtime.block_on(Proxy::balance(addrs.to_vec()))
    });
    let urls = proxies.each_ref().map(|proxy| format!("amqp://guest:guest@{}", proxy.addr()));
    let mut scenario = Scenario::start(setup, &HostPlacement::pair(urls));
    for node in 0..NODES {
        let due = setup.pipelines * (node as u64 + 1) / (NODES as u64 + 1);
        scenario.until_accepted(due).unwrap_or_else(|verdict| panic!("{verdict}\n{}", scenario.logs()));
        cluster.kill(node);
        // Long enough that everybody works without it.
        let meanwhile = scenario.history().records() + 1_000;
        let _ = poll(Duration::from_secs(10), || (scenario.history().records() >= meanwhile).then_some(()));
        cluster.restart(node);
    }
    let verdict = scenario.finish();
    println!("{verdict}");
    verdict.assert_flawless();
    assert_eq!(verdict.accepted, setup.pipelines);
    verdict
}

fn replicated(failures: u32, max_attempts: u32) -> PipelineSetup {
    let bus_lines = "durability = \"replicated\"".to_owned();
    PipelineSetup { pipelines: 3_000, failures, max_attempts, bus_lines, ..PipelineSetup::default() }
}

#[test]
fn replicated_queues_lose_nothing_when_nodes_die() {
    nodes_die_under_load(&replicated(10, 12));
}

/// Jobs that wait for their next attempt are in queues, too.
#[test]
fn replicated_queues_lose_no_retries_when_nodes_die() {
    nodes_die_under_load(&replicated(300, 40));
}
