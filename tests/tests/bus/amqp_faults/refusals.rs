//! What is refused or given up is said, to those who can do something about it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use mshost_bus::{
    Bus, BusError, BusLimits, ConsumerOptions, EXPIRED, Event, Failure, Notification, SendError, Subscription,
};
use mshost_core::ids::JobId;
use mshost_tests::broker::Broker;

use super::support::{connected, eventually, job, join, kind, limited, patient, worker};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_other_arguments_is_named_and_left_alone() {
    let (url, kind) = (Broker::shared().url(), kind());
    let queue = format!("mshost.job.{kind}");
    let raw = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = raw.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(5));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), durable, arguments.clone()).await.unwrap();
    let publish = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), queue.as_str().into(), publish, b"kept", BasicProperties::default())
        .await
        .unwrap();

    let host = connected(&url, patient()).await;
    let refused = limited("join", host.bus.join(&worker(&kind), ConsumerOptions::new(1))).await;
    let Err(BusError::Refused { what, reason }) = refused.map(drop) else { panic!("it was not refused") };
    for part in [&queue, "inequivalent arg 'x-", "delete_queue"] {
        assert!(format!("{what}: {reason}").contains(part), "{part} is not in {what}: {reason}");
    }
    let passive = QueueDeclareOptions { passive: true, ..durable };
    eventually("the queue with its message", async || {
        let queue = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await.unwrap();
        queue.message_count() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_and_refused_jobs_are_told_apart_under_load() {
    let _turn = mshost_tests::heavy::turn();
    let host = connected(&Broker::shared().url(), patient()).await;
    let (here, nowhere) = (kind(), kind());
    let (_, mut consumer) = join(&host.bus, &here, 100).await;
    let worker = tokio::spawn(async move {
        for _ in 0..1_000 {
            consumer.next().await.unwrap().ack().await.unwrap();
        }
    });
    let sends = (0..2_000_u32).map(|number| {
        let (bus, to) = (Arc::clone(&host.bus), if number % 2 == 0 { here.clone() } else { nowhere.clone() });
        tokio::spawn(async move { (number, bus.send(job(&to, number)).await) })
    });
    for send in sends.collect::<Vec<_>>() {
        match limited("a send", send).await.unwrap() {
            (number, Ok(())) => assert_eq!(number % 2, 0, "nobody was there for job {number}"),
            (number, Err(SendError::NoWorker(_))) => assert_eq!(number % 2, 1, "somebody was there for job {number}"),
            (number, Err(error)) => panic!("job {number}: {error}"),
        }
    }
    limited("the worker", worker).await.unwrap();
}

/// Each cause has its own sentence: a bus that refuses is not a closed one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_stays_full_is_named_to_its_senders() {
    let limits = BusLimits { queue: 1, send_timeout: Duration::from_secs(1), ..BusLimits::default() };
    let host = connected(&Broker::shared().url(), limits).await;
    let kind = kind();
    let (_, _idle) = join(&host.bus, &kind, 1).await;
    let mut refused = Ok(());
    for number in 0..10 {
        refused = limited("a send", host.bus.send(job(&kind, number))).await;
        if refused.is_err() {
            break;
        }
    }
    let Err(SendError::Unavailable(why)) = refused else { panic!("it is not full: {refused:?}") };
    assert!(why.contains(&format!("the queue of {kind} is full")) && !why.contains("closed"), "{why}");
}

/// The reports about a job.
async fn reports(subscription: &mut Box<dyn Subscription>, about: &JobId, count: usize) -> Vec<Failure> {
    let mut found = Vec::new();
    while found.len() < count {
        if let Event::Notification(Notification::Error(failure)) =
            limited("a report", subscription.next()).await.unwrap()
            && failure.id == *about
        {
            found.push(failure);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_due_again_when_nobody_is_left_waits_until_its_deadline_and_is_reported() {
    let host = connected(&Broker::shared().url(), patient()).await;
    let kind = kind();
    let mut subscription = host.bus.subscribe().await.unwrap();
    let (_, mut consumer) = join(&host.bus, &kind, 1).await;
    let mut failing = job(&kind, 7);
    failing.origin = worker(&kind);
    failing.deadline = Some(SystemTime::now() + Duration::from_secs(3));
    host.bus.send(failing.clone()).await.unwrap();
    limited("the job", consumer.next()).await.unwrap().retry(Duration::from_millis(500)).await.unwrap();
    drop(consumer);
    let reports = reports(&mut subscription, &failing.id, 2).await;
    assert!(reports.iter().any(|report| report.target == failing.sender));
    assert!(reports.iter().any(|report| report.target == failing.origin));
    assert!(reports.iter().all(|report| report.error == EXPIRED), "{reports:?}");
    assert_eq!(reports[0].payload.as_ref().unwrap(), &failing.payload);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_for_a_worker_that_leaves_are_reported() {
    let host = connected(&Broker::shared().url(), patient()).await;
    let mut subscription = host.bus.subscribe().await.unwrap();
    let (worker, mut consumer) = join(&host.bus, &kind(), 1).await;
    let (first, second) = (job(&worker.id, 1), job(&worker.id, 2));
    host.bus.send(first.clone()).await.unwrap();
    host.bus.send(second.clone()).await.unwrap();
    let held = limited("the job", consumer.next()).await.unwrap();
    drop(consumer);
    for job in [&first, &second] {
        let report = reports(&mut subscription, &job.id, 1).await.remove(0);
        assert_eq!((&report.target, report.error), (&job.sender, format!("no worker available for {}", worker.id)));
    }
    held.ack().await.unwrap_err();
}
