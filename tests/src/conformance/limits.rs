//! What the bus refuses, and where it makes its users wait.
#![allow(clippy::missing_panics_doc, missing_docs)]

use std::collections::BTreeSet;
use std::sync::Arc;

use mshost_bus::{BusLimits, Codec, Payload, SendError};

use super::host_pair::{HostPair, assert_no_worker, eventually, limited, next, next_number};

/// The limits that these checks run with: small enough to be reached.
pub fn limits() -> BusLimits {
    BusLimits { queue: 4, message_bytes: 4096, ..BusLimits::default() }
}

pub async fn a_type_without_workers_is_refused(pair: &HostPair) {
    let job = pair.numbered(&pair.kind(), 1);
    assert_no_worker(&limited("send", pair.bus.send(job.clone())).await, &job);
}

pub async fn an_id_that_is_not_there_is_refused(pair: &HostPair) {
    let kind = pair.kind();
    let (_, _others) = pair.join(&kind, 1).await;
    let job = pair.job(&[&pair.worker(&kind).id], &1);
    assert_no_worker(&limited("send", pair.bus.send(job.clone())).await, &job);
}

/// Sends until it is refused; gives how many were accepted before.
async fn refused_in_the_end(pair: &HostPair, route: &str) -> u32 {
    let mut accepted = 0;
    eventually("a refusal", async || {
        let job = pair.job(&[route], &1);
        match limited("send", pair.bus.send(job.clone())).await {
            Ok(()) => {
                accepted += 1;
                Err("accepted".into())
            }
            refused => {
                assert_no_worker(&refused, &job);
                Ok(())
            }
        }
    })
    .await;
    accepted
}

pub async fn a_type_is_refused_once_its_last_worker_has_left(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 1).await;
    let (_, second) = pair.join_at(&*pair.other, &kind, 1).await;
    drop(second);
    pair.send(pair.numbered(&kind, 1)).await;
    assert_eq!(next_number(&mut first).await, 1);
    first.stop().await;
    refused_in_the_end(pair, &kind).await;
}

pub async fn a_type_is_refused_once_its_last_worker_has_left_it(pair: &HostPair) {
    let kind = pair.kind();
    let (worker, mut consumer) = pair.join(&kind, 1).await;
    consumer.leave_type().await;
    refused_in_the_end(pair, &kind).await;
    pair.send(pair.job(&[&*worker.id], &1)).await;
    assert_eq!(next_number(&mut consumer).await, 1);
}

pub async fn an_id_is_refused_once_it_has_left(pair: &HostPair) {
    let kind = pair.kind();
    let (worker, mut first) = pair.join(&kind, 1).await;
    let (_, mut second) = pair.join(&kind, 1).await;
    first.stop().await;
    drop(first);
    refused_in_the_end(pair, &worker.id).await;
    pair.send(pair.numbered(&kind, 1)).await;
    assert_eq!(next_number(&mut second).await, 1);
}

pub async fn queued_jobs_wait_for_the_next_worker(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 1).await;
    pair.send_numbers(&kind, 0..4).await;
    let held = next(&mut first).await;
    drop(first);
    drop(held);
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 1).await;
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        seen.insert(next_number(&mut second).await);
    }
    assert_eq!(seen, BTreeSet::from([0, 1, 2, 3]));
}

pub async fn a_job_that_is_too_large_is_refused(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    let limit = pair.limits.message_bytes;
    let job = pair.job(&[&kind], &"x".repeat(limit));
    let size = job.payload.bytes().len();
    let refused = limited("send", pair.bus.send(job)).await;
    assert_eq!(refused, Err(SendError::TooLarge { size, limit }));
    // One that just fits: what is around the text takes the same room in both.
    let fits = pair.job(&[&kind], &"x".repeat(limit - (size - limit)));
    assert_eq!(fits.payload.bytes().len(), limit);
    pair.send(fits.clone()).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.job, fits);
    delivery.ack().await.unwrap();
}

pub async fn data_in_another_codec_is_refused(pair: &HostPair) {
    let kind = pair.kind();
    let (_, _consumer) = pair.join(&kind, 1).await;
    for codec in Codec::ALL.into_iter().filter(|codec| *codec != pair.codec) {
        let mut job = pair.numbered(&kind, 1);
        job.payload = Payload::encode(codec, &1).unwrap();
        let refused = limited("send", pair.bus.send(job)).await;
        assert!(matches!(refused, Err(SendError::Encode(_))), "{codec}: {refused:?}");
    }
}

pub async fn trying_to_send_says_the_same_as_sending(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    let nobody = pair.numbered(&pair.kind(), 1);
    match pair.bus.try_send(nobody.clone()) {
        Ok(decided) => assert_no_worker(&decided, &nobody),
        Err(back) => assert_eq!(*back, nobody),
    }
    let job = pair.numbered(&kind, 2);
    match pair.bus.try_send(job.clone()) {
        Ok(decided) => decided.unwrap(),
        Err(back) => {
            assert_eq!(*back, job);
            pair.send(*back).await;
        }
    }
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.job, job);
    delivery.ack().await.unwrap();
}

pub async fn prefetch_is_a_limit(pair: &HostPair) {
    let kind = pair.kind();
    let (worker, mut first) = pair.join(&kind, 2).await;
    // Both of its queues count, together or each.
    let others = if pair.shared_prefetch { 3 } else { 4 };
    pair.send(pair.job(&[&worker.id], &0)).await;
    pair.send_numbers(&kind, 1..=others).await;
    let held = [next(&mut first).await, next(&mut first).await];
    // Had the first worker taken more than it may, these would never come.
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 2).await;
    let rest = [next(&mut second).await, next(&mut second).await];
    for delivery in held.into_iter().chain(rest) {
        delivery.ack().await.unwrap();
    }
}

pub async fn settling_makes_room(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    pair.send_numbers(&kind, 0..4).await;
    next(&mut consumer).await.ack().await.unwrap();
    drop(next(&mut consumer).await);
    next(&mut consumer).await.requeue().await.unwrap();
    next(&mut consumer).await.retry(std::time::Duration::ZERO).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        assert!(seen.insert(next_number(&mut consumer).await));
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
}

pub async fn a_full_queue_makes_senders_wait(pair: &HostPair) {
    const JOBS: u32 = 40;
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    let senders: Vec<_> = (0..JOBS)
        .map(|number| {
            let (bus, job) = (Arc::clone(&pair.bus), pair.numbered(&kind, number));
            tokio::spawn(async move { bus.send(job).await })
        })
        .collect();
    let mut seen = BTreeSet::new();
    while seen.len() < JOBS as usize {
        assert!(seen.insert(next_number(&mut consumer).await), "a job came twice");
    }
    for sender in senders {
        sender.await.unwrap().unwrap();
    }
}
