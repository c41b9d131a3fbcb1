//! Who gets which job, and in what order.
#![allow(clippy::missing_panics_doc, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;

use mshost_bus::{BusLimits, Job, Payload, Route};
use mshost_core::ids::WorkerType;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::host_pair::{HostPair, limited, next, next_number, number};

/// The limits that these checks run with.
pub fn limits() -> BusLimits {
    BusLimits::default()
}

pub async fn a_job_reaches_a_worker_of_the_type_with_all_that_it_carries(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join_at(&*pair.other, &kind, 1).await;
    let mut job = pair.job(&[&kind, "Later:*"], &json!({"text": "é", "list": [1, 2.5, null]}));
    job.correlation = pair.job_id();
    job.origin = pair.worker(&pair.kind());
    job.attempt = 3;
    pair.send(job.clone()).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.job, job);
    assert!(!delivery.redelivered);
    delivery.ack().await.unwrap();
}

pub async fn a_job_reaches_the_one_worker_that_it_names(pair: &HostPair) {
    let kind = pair.kind();
    let (first, mut at_first) = pair.join(&kind, 4).await;
    let (second, mut at_second) = pair.join_at(&*pair.other, &kind, 4).await;
    for number in 0..10 {
        pair.send(pair.job(&[&first.id], &number)).await;
        pair.send(pair.job(&[&second.id], &(number + 100))).await;
    }
    for number in 0..10 {
        assert_eq!(next_number(&mut at_first).await, number);
        assert_eq!(next_number(&mut at_second).await, number + 100);
    }
}

pub async fn payload_bytes_arrive_as_they_were_sent(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    let payloads = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1_460_306_476_102_i64),
        json!(1.5),
        json!(""),
        json!("{\"quoted\": [\u{1F980}]}"),
        json!([]),
        json!({}),
        json!({"data": {"data": [{"data": null}]}}),
        Value::from("x".repeat(1 << 20)),
        (0..90).fold(json!([]), |inner, _| json!([inner])),
    ];
    for data in payloads {
        let job = pair.job(&[&kind], &data);
        pair.send(job.clone()).await;
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.job.payload.bytes(), job.payload.bytes(), "{data}");
        assert_eq!(delivery.job.payload.codec(), pair.codec);
        assert_eq!(delivery.job.payload.decode::<Value>().unwrap(), data);
        delivery.ack().await.unwrap();
    }
}

pub async fn a_pipeline_visits_each_worker_in_turn(pair: &HostPair) {
    let kinds = [pair.kind(), pair.kind(), pair.kind()];
    let (_, mut first) = pair.join(&kinds[0], 1).await;
    let (second_worker, mut second) = pair.join_at(&*pair.other, &kinds[1], 1).await;
    let (_, mut third) = pair.join(&kinds[2], 1).await;
    let job = pair.job(&[&kinds[0], &second_worker.id, &kinds[2]], &0);
    pair.send(job.clone()).await;
    for (step, consumer) in [&mut first, &mut second, &mut third].into_iter().enumerate() {
        let delivery = next(consumer).await;
        assert_eq!(delivery.job.route.position(), step);
        assert_eq!(delivery.job.route.addresses(), job.route.addresses());
        assert_eq!(delivery.job.correlation, job.correlation);
        assert_eq!(number(&delivery.job), u32::try_from(step).unwrap());
        if let Some(route) = delivery.job.route.next() {
            let payload = Payload::encode(pair.codec, &(step + 1)).unwrap();
            let on = Job { id: pair.job_id(), route, payload, ..delivery.job.clone() };
            pair.send(on).await;
        }
        delivery.ack().await.unwrap();
    }
}

pub async fn jobs_of_one_sender_keep_their_order(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    pair.send_numbers(&kind, 0..200).await;
    for expected in 0..200 {
        assert_eq!(next_number(&mut consumer).await, expected);
    }
}

pub async fn neither_queue_of_a_worker_starves_the_other(pair: &HostPair) {
    const EACH: u32 = 100;
    let kind = pair.kind();
    let (worker, mut consumer) = pair.join(&kind, 1).await;
    for number in 0..EACH {
        pair.send(pair.numbered(&kind, number)).await;
        pair.send(pair.job(&[&worker.id], &(EACH + number))).await;
    }
    let mut by_id = 0;
    for _ in 0..EACH {
        by_id += u32::from(next_number(&mut consumer).await >= EACH);
    }
    assert!((10..=90).contains(&by_id), "of {EACH} jobs {by_id} were from the queue of the worker's id");
}

pub async fn free_workers_share_the_jobs(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 1).await;
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 1).await;
    for round in 0..50 {
        pair.send_numbers(&kind, [2 * round, 2 * round + 1]).await;
        // Both have a job at once: a worker with its hands full is passed over.
        let (at_first, at_second) = (next(&mut first).await, next(&mut second).await);
        assert_ne!(number(&at_first.job), number(&at_second.job));
        at_first.ack().await.unwrap();
        at_second.ack().await.unwrap();
    }
}

pub async fn jobs_go_round_among_workers(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 100).await;
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 100).await;
    pair.send_numbers(&kind, 0..20).await;
    let mut taken = [Vec::new(), Vec::new()];
    while taken[0].len() + taken[1].len() < 20 {
        let (who, delivery) = limited("next of either", async {
            tokio::select! {
                delivery = first.next() => (0, delivery.unwrap()),
                delivery = second.next() => (1, delivery.unwrap()),
            }
        })
        .await;
        taken[who].push(delivery);
    }
    let counts = taken.each_ref().map(Vec::len);
    assert!(counts.iter().all(|count| *count >= 5), "two free workers were given {counts:?} of 20 jobs");
}

pub async fn many_senders_and_workers_lose_and_double_nothing(pair: &HostPair) {
    const SENDERS: u32 = 8;
    const EACH: u32 = 100;
    let kind = pair.kind();
    let (report, mut done) = mpsc::channel(64);
    let mut workers = Vec::new();
    for bus in [&pair.bus, &pair.other, &pair.bus, &pair.other] {
        let (_, mut consumer) = pair.join_at(&**bus, &kind, 5).await;
        let report = report.clone();
        workers.push(tokio::spawn(async move {
            while let Some(delivery) = consumer.next().await {
                assert!(!delivery.redelivered && delivery.job.attempt == 1);
                let number = number(&delivery.job);
                delivery.ack().await.unwrap();
                report.send(number).await.unwrap();
            }
        }));
    }
    for sender in 0..SENDERS {
        let bus = Arc::clone(if sender % 2 == 0 { &pair.bus } else { &pair.other });
        let jobs: Vec<_> = (0..EACH).map(|number| pair.numbered(&kind, sender * EACH + number)).collect();
        tokio::spawn(async move {
            for job in jobs {
                bus.send(job).await.unwrap();
            }
        });
    }
    let mut seen = BTreeMap::new();
    for _ in 0..SENDERS * EACH {
        *seen.entry(limited("a job's end", done.recv()).await.unwrap()).or_insert(0) += 1;
    }
    assert!(seen.values().all(|times| *times == 1) && seen.len() == (SENDERS * EACH) as usize, "{seen:?}");
    workers.iter().for_each(tokio::task::JoinHandle::abort);
}

pub async fn other_runtimes_may_use_the_bus(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    let (echoed, worker) = (pair.kind(), pair.worker(&pair.kind()));
    let (bus, from) = (Arc::clone(&pair.other), kind.clone());
    let template = pair.job(&[&kind], &0);
    // A sender and a worker on a thread with a runtime of its own.
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = mshost_bus::ConsumerOptions::new(1);
            let mut echo = bus.join(&worker_of(&echoed, &worker), options).await.unwrap();
            let route = Route::parse([&*from, &*echoed]).unwrap();
            bus.send(Job { route, ..template }).await.unwrap();
            let delivery = next(&mut echo).await;
            delivery.ack().await.unwrap();
        });
    });
    let delivery = next(&mut consumer).await;
    let route = delivery.job.route.next().unwrap();
    pair.send(Job { id: pair.job_id(), route, ..delivery.job.clone() }).await;
    delivery.ack().await.unwrap();
    tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
}

/// A worker of `kind` that is numbered like another.
fn worker_of(kind: &WorkerType, like: &mshost_core::ids::WorkerRef) -> mshost_core::ids::WorkerRef {
    let (_, number) = like.id.split_once(':').unwrap();
    mshost_core::ids::WorkerId::new(&format!("{kind}:{number}")).unwrap().into()
}
