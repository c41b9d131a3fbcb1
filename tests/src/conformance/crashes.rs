//! How often a job may come back: one that kills its workers is given up, and takes no others along.
#![allow(clippy::missing_panics_doc, missing_docs)]

use std::collections::BTreeSet;

use mshost_bus::BusLimits;

use super::dead_letters::{keep, letter_of};
use super::host_pair::{HostPair, next, number};

/// The limits that these checks run with: a job may be begun twice.
pub fn limits() -> BusLimits {
    BusLimits { deliveries: 2, ..BusLimits::default() }
}

/// More than may be delivered and not settled.
const ROUNDS: usize = 4;

async fn takes_all(pair: &HostPair, kind: &mshost_core::ids::WorkerType, expected: BTreeSet<u32>) {
    let (_, mut last) = pair.join(kind, 4).await;
    let mut seen = BTreeSet::new();
    while seen != expected {
        let delivery = next(&mut last).await;
        seen.insert(number(&delivery.job));
        delivery.ack().await.unwrap();
    }
}

/// As where its worker is updated again and again.
pub async fn a_job_that_was_never_begun_does_not_count_as_delivered(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 8).await;
    pair.send_numbers(&kind, 0..6).await;
    let held = next(&mut consumer).await;
    for _ in 0..ROUNDS {
        consumer.pause().await;
        consumer.resume().await;
    }
    for _ in 0..ROUNDS {
        let (_, mut other) = pair.join(&kind, 8).await;
        consumer.pause().await;
        other.stop().await;
        drop(other);
        consumer.resume().await;
    }
    let begun = number(&held.job);
    held.ack().await.unwrap();
    drop(consumer);
    takes_all(pair, &kind, (0..6).filter(|number| *number != begun).collect()).await;
}

/// Its worker does one job at a time, the others are on their way to it.
pub async fn a_job_that_kills_its_worker_takes_no_others_along(pair: &HostPair) {
    if !pair.knows_started_jobs {
        return;
    }
    let _kept = keep().await;
    let kind = pair.kind();
    let deadly = pair.numbered(&kind, 0);
    let (_, first) = pair.join(&kind, 8).await;
    pair.send(deadly.clone()).await;
    pair.send_numbers(&kind, 1..6).await;
    let (mut seen, mut consumer) = (BTreeSet::new(), first);
    let mut deaths = 0;
    while deaths < pair.limits.deliveries {
        let delivery = next(&mut consumer).await;
        if delivery.job.id == deadly.id {
            deaths += 1;
            // It dies of it.
            drop(consumer);
            drop(delivery);
            consumer = pair.join(&kind, 8).await.1;
        } else {
            seen.insert(number(&delivery.job));
            delivery.ack().await.unwrap();
        }
    }
    while seen.len() < 5 {
        let delivery = next(&mut consumer).await;
        seen.insert(number(&delivery.job));
        delivery.ack().await.unwrap();
    }
    assert_eq!(seen, (1..6).collect());
    // A broker's bus finds out when it would come again.
    tokio::select! {
        _ = letter_of(pair, &deadly) => {}
        delivery = next(&mut consumer) => panic!("it comes again: {:?}", delivery.job),
    }
}
