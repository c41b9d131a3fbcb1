//! Messages that others put on the bus.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use mshost_bus::{Bus, DeadLetter, DeathReason, Event, HostBus, Notification};
use mshost_tests::broker::Broker;

use super::support::{connected, eventually, job, join, kind, limited, patient, worker};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages_are_counted_and_kept_apart() {
    let host = connected(&Broker::shared().url(), patient()).await;
    let kind = kind();
    let (_, mut consumer) = join(&host.bus, &kind, 1).await;
    let mut subscription = host.bus.subscribe().await.unwrap();
    let raw = Connection::connect(&Broker::shared().url(), ConnectionProperties::default()).await.unwrap();
    let channel = raw.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let publish = async |exchange: &str, key: &str, body: &[u8], properties: BasicProperties| {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap();
        assert!(confirm.await.unwrap().take_message().is_none(), "{key} on {exchange} went nowhere");
    };
    let msgpack = BasicProperties::default().with_content_type("application/msgpack".into());
    publish("mshost.jobs", &kind, b"{", BasicProperties::default()).await;
    publish("mshost.jobs", &kind, b"\x80", msgpack).await;
    publish("notifications", "worker.del", b"nonsense", BasicProperties::default()).await;

    host.bus.send(job(&kind, 7)).await.unwrap();
    let delivery = limited("the good job", consumer.next()).await.unwrap();
    assert_eq!(delivery.job.payload.decode::<u32>().unwrap(), 7);
    delivery.ack().await.unwrap();
    let gone = Notification::Del(worker(&kind));
    host.bus.publish(gone.clone()).await.unwrap();
    while limited("a notification", subscription.next()).await.unwrap() != Event::Notification(gone.clone()) {}
    let count = |source, kind| host.metrics.malformed.with_label_values(&[source, kind]).get();
    assert_eq!([count("job", "syntax"), count("job", "codec")], [1, 1]);
    eventually("the malformed jobs among the dead letters", async || {
        let letters = host.bus.dead_letters().list(1_000).await.unwrap();
        let malformed = |letter: &&DeadLetter| letter.death.reason == DeathReason::Malformed && letter.job.is_none();
        let raw: Vec<_> = letters.iter().filter(malformed).filter_map(|letter| letter.raw.as_deref()).collect();
        raw.contains(&&b"{"[..]) && raw.contains(&&b"\x80"[..])
    })
    .await;
    eventually("the malformed notification", async || count("notification", "syntax") >= 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_our_headers_is_a_first_attempt() {
    let host = connected(&Broker::shared().url(), patient()).await;
    let kind = kind();
    let (_, mut consumer) = join(&host.bus, &kind, 1).await;
    let raw = Connection::connect(&Broker::shared().url(), ConnectionProperties::default()).await.unwrap();
    let body = format!(
        r#"{{"workers_list":["{kind}:*"],"workers_list_id":0,"data":5,"sender":{{"id":"WA:1460306476102","type":"WA"}},"id":"J1460306476102"}}"#
    );
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let channel = raw.create_channel().await.unwrap();
    channel.basic_publish("mshost.jobs".into(), (*kind).into(), options, body.as_bytes(), properties).await.unwrap();
    let delivery = limited("the job", consumer.next()).await.unwrap();
    let job = &delivery.job;
    assert_eq!((job.attempt, &job.correlation, &job.origin), (1, &job.id, &job.sender));
    assert_eq!((&*job.id, &*job.sender.id), ("J1460306476102", "WA:1460306476102"));
    delivery.ack().await.unwrap();
}

/// It waits for a worker that does not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_message_for_a_worker_that_leaves_is_kept() {
    let url = Broker::shared().url_of(&format!("strangers-{}", kind()));
    let (host, kind) = (connected(&url, patient()).await, kind());
    let (worker, mut consumer) = join(&host.bus, &kind, 1).await;
    host.bus.send(job(&worker.id, 1)).await.unwrap();
    let in_hand = limited("the job", consumer.next()).await.unwrap();
    let raw = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = raw.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm =
        channel.basic_publish("mshost.jobs".into(), (*worker.id).into(), options, b"}", properties).await.unwrap();
    assert!(confirm.await.unwrap().is_ack());
    drop((in_hand, consumer));
    eventually("both among the dead letters", async || {
        let mut reasons: Vec<_> =
            host.bus.dead_letters().list(10).await.unwrap().iter().map(|letter| letter.death.reason.name()).collect();
        reasons.sort_unstable();
        reasons == [DeathReason::Malformed.name(), DeathReason::NoWorker.name()]
    })
    .await;
}
