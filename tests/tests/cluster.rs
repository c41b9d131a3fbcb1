//! A cluster of three nodes that loses one under load.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use mshost_tests::cluster::{Cluster, NODES};

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
