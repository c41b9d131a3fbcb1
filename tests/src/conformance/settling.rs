//! What becomes of a delivery: done, handed back, tried again.
#![allow(clippy::missing_panics_doc, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use mshost_bus::BusLimits;

use super::host_pair::{HostPair, next, next_number, number};

/// The limits that these checks run with.
pub fn limits() -> BusLimits {
    // Jobs that come again at random must not be taken for jobs that kill.
    BusLimits { deliveries: 1_000, ..BusLimits::default() }
}

pub async fn an_acked_job_does_not_come_again(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 4).await;
    pair.send_numbers(&kind, 0..4).await;
    for expected in 0..4 {
        assert_eq!(next_number(&mut consumer).await, expected);
    }
    drop(consumer);
    let (_, mut consumer) = pair.join(&kind, 4).await;
    pair.send_numbers(&kind, [4]).await;
    assert_eq!(next_number(&mut consumer).await, 4);
}

pub async fn a_dropped_delivery_comes_again_flagged(pair: &HostPair) {
    let kind = pair.kind();
    let (worker, mut consumer) = pair.join(&kind, 1).await;
    for route in [&*kind, &*worker.id] {
        let job = pair.job(&[route], &7);
        pair.send(job.clone()).await;
        drop(next(&mut consumer).await);
        let again = next(&mut consumer).await;
        assert!(again.redelivered, "{route}");
        assert_eq!(again.job, job);
        again.ack().await.unwrap();
    }
}

pub async fn a_requeued_delivery_comes_again_flagged(pair: &HostPair) {
    let kind = pair.kind();
    let (worker, mut consumer) = pair.join(&kind, 1).await;
    for route in [&*kind, &*worker.id] {
        let job = pair.job(&[route], &7);
        pair.send(job.clone()).await;
        next(&mut consumer).await.requeue().await.unwrap();
        let again = next(&mut consumer).await;
        assert!(again.redelivered, "{route}");
        assert_eq!(again.job, job);
        again.ack().await.unwrap();
    }
}

pub async fn a_retried_delivery_comes_again_as_the_next_attempt(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    let job = pair.numbered(&kind, 7);
    pair.send(job.clone()).await;
    next(&mut consumer).await.retry(Duration::ZERO).await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!(again.job.attempt, 2);
    assert_eq!(mshost_bus::Job { attempt: 1, ..again.job.clone() }, job);
    again.ack().await.unwrap();
}

pub async fn a_retried_delivery_waits_for_its_delay(pair: &HostPair) {
    // Less than a timer may round away.
    const DELAY: Duration = Duration::from_millis(300);
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    pair.send_numbers(&kind, 0..2).await;
    let delivery = next(&mut consumer).await;
    let start = Instant::now();
    delivery.retry(DELAY).await.unwrap();
    // It does not keep the others waiting.
    assert_eq!(next_number(&mut consumer).await, 1);
    let again = next(&mut consumer).await;
    let waited = start.elapsed();
    assert_eq!((number(&again.job), again.job.attempt), (0, 2));
    assert!(waited >= DELAY - Duration::from_millis(5), "it came after {waited:?}");
    again.ack().await.unwrap();
}

/// As where the only host is restarted meanwhile.
pub async fn a_retry_that_is_due_while_nobody_is_there_waits(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 1).await;
    pair.send_numbers(&kind, [7]).await;
    next(&mut first).await.retry(Duration::from_millis(300)).await.unwrap();
    first.stop().await;
    drop(first);
    // Until well after it was due.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (_, mut second) = pair.join(&kind, 1).await;
    let again = next(&mut second).await;
    assert_eq!((number(&again.job), again.job.attempt), (7, 2));
    again.ack().await.unwrap();
}

/// It was accepted: it waits, as one that is to be tried again later does. A worker that drains holds it, and the last other
/// worker of its type leaves meanwhile.
pub async fn a_retry_at_once_while_nobody_is_there_waits(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 1).await;
    pair.send_numbers(&kind, [7]).await;
    let held = next(&mut first).await;
    first.leave_type().await;
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 1).await;
    second.stop().await;
    drop(second);
    held.retry(Duration::ZERO).await.unwrap();
    first.stop().await;
    drop(first);
    let (_, mut third) = pair.join(&kind, 1).await;
    let again = next(&mut third).await;
    assert_eq!((number(&again.job), again.job.attempt), (7, 2));
    again.ack().await.unwrap();
}

/// It was accepted: it waits, however the one that held it gives it back. A worker that drains, or has paused, holds it,
/// and the last other worker of its type leaves meanwhile.
pub async fn a_job_in_hand_of_one_that_left_outlives_the_last_worker(pair: &HostPair) {
    for (has_paused, drops) in [(false, false), (false, true), (true, false)] {
        let kind = pair.kind();
        let (_, mut first) = pair.join(&kind, 1).await;
        pair.send_numbers(&kind, [7]).await;
        let held = next(&mut first).await;
        if has_paused {
            first.pause().await;
        } else {
            first.leave_type().await;
        }
        let (_, mut second) = pair.join_at(&*pair.other, &kind, 1).await;
        second.stop().await;
        drop(second);
        if drops {
            drop(held);
        } else {
            held.requeue().await.unwrap();
        }
        first.stop().await;
        drop(first);
        let (_, mut third) = pair.join(&kind, 1).await;
        let again = next(&mut third).await;
        assert_eq!((number(&again.job), again.job.attempt, again.redelivered), (7, 1, true));
        again.ack().await.unwrap();
    }
}

pub async fn attempts_add_up(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 1).await;
    pair.send_numbers(&kind, [7]).await;
    for attempt in 1..=4 {
        let delivery = next(&mut first).await;
        assert_eq!(delivery.job.attempt, attempt);
        delivery.retry(Duration::from_millis(1)).await.unwrap();
    }
    let delivery = next(&mut first).await;
    assert_eq!(delivery.job.attempt, 5);
    // Handing it back is no attempt.
    delivery.requeue().await.unwrap();
    let delivery = next(&mut first).await;
    assert_eq!((delivery.job.attempt, delivery.redelivered), (5, true));
    delivery.ack().await.unwrap();
}

pub async fn a_retried_delivery_for_one_worker_goes_to_it(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 1).await;
    let (worker, mut second) = pair.join_at(&*pair.other, &kind, 1).await;
    pair.send(pair.job(&[&worker.id], &7)).await;
    for (attempt, delay) in [(1, 0), (2, 10), (3, 0)] {
        let delivery = next(&mut second).await;
        assert_eq!(delivery.job.attempt, attempt);
        delivery.retry(Duration::from_millis(delay)).await.unwrap();
    }
    next(&mut second).await.ack().await.unwrap();
    // The other one has been given nothing in all this time. Both are held, since the bus may not have heard of the last ack yet.
    pair.send_numbers(&kind, [8, 9]).await;
    let both = [next(&mut first).await, next(&mut second).await];
    assert_eq!(BTreeSet::from(both.each_ref().map(|delivery| number(&delivery.job))), BTreeSet::from([8, 9]));
    for delivery in both {
        delivery.ack().await.unwrap();
    }
}

pub async fn a_dropped_consumer_hands_back_what_it_held(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 3).await;
    pair.send_numbers(&kind, 0..6).await;
    let held = [next(&mut first).await, next(&mut first).await];
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 6).await;
    drop(first);
    let mut flagged = BTreeMap::new();
    for _ in 0..6 {
        let delivery = next(&mut second).await;
        flagged.insert(number(&delivery.job), delivery.redelivered);
        delivery.ack().await.unwrap();
    }
    assert_eq!(flagged.len(), 6, "{flagged:?}");
    assert!(flagged[&0] && flagged[&1], "the two that were returned may be done already: {flagged:?}");
    assert!(!flagged[&5], "the last was never near the first worker: {flagged:?}");
    drop(held);
}

pub async fn settling_after_the_consumer_is_gone_fails(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 3).await;
    pair.send_numbers(&kind, 0..3).await;
    let held = [next(&mut first).await, next(&mut first).await, next(&mut first).await];
    drop(first);
    let (_, mut second) = pair.join(&kind, 3).await;
    let [acked, retried, requeued] = held;
    acked.ack().await.unwrap_err();
    retried.retry(Duration::ZERO).await.unwrap_err();
    requeued.requeue().await.unwrap_err();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let delivery = next(&mut second).await;
        assert_eq!((delivery.redelivered, delivery.job.attempt), (true, 1));
        seen.insert(number(&delivery.job));
        delivery.ack().await.unwrap();
    }
    assert_eq!(seen, BTreeSet::from([0, 1, 2]));
}

pub async fn a_stopped_consumer_hands_back_what_it_has_not_returned(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 4).await;
    pair.send_numbers(&kind, 0..4).await;
    let held = next(&mut first).await;
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 4).await;
    first.stop().await;
    assert!(first.next().await.is_none());
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        seen.insert(next_number(&mut second).await);
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
    // Nothing new goes to a worker that has stopped.
    pair.send_numbers(&kind, [4]).await;
    assert_eq!(next_number(&mut second).await, 4);
    held.ack().await.unwrap();
}

pub async fn a_consumer_that_has_left_its_type_takes_what_is_for_its_id(pair: &HostPair) {
    let kind = pair.kind();
    let (worker, mut first) = pair.join(&kind, 4).await;
    pair.send_numbers(&kind, 0..3).await;
    let held = next(&mut first).await;
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 4).await;
    first.leave_type().await;
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        seen.insert(next_number(&mut second).await);
    }
    assert_eq!(seen, BTreeSet::from([1, 2]));
    pair.send_numbers(&kind, [3]).await;
    assert_eq!(next_number(&mut second).await, 3);
    pair.send(pair.job(&[&*worker.id], &4)).await;
    assert_eq!(next_number(&mut first).await, 4);
    held.ack().await.unwrap();
}

pub async fn a_paused_consumer_keeps_its_place_and_takes_what_is_for_its_id(pair: &HostPair) {
    let kind = pair.kind();
    let (worker, mut consumer) = pair.join(&kind, 4).await;
    pair.send_numbers(&kind, 0..3).await;
    let held = next(&mut consumer).await;
    consumer.pause().await;
    consumer.pause().await;
    // Nobody is told that there is no worker.
    pair.send_numbers(&kind, [3]).await;
    pair.send(pair.job(&[&*worker.id], &4)).await;
    assert_eq!(next_number(&mut consumer).await, 4);
    held.ack().await.unwrap();
    pair.send(pair.job(&[&*worker.id], &5)).await;
    assert_eq!(next_number(&mut consumer).await, 5);
    consumer.resume().await;
    consumer.resume().await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        seen.insert(next_number(&mut consumer).await);
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
}

pub async fn a_paused_consumer_leaves_the_work_to_others(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 4).await;
    pair.send_numbers(&kind, 0..3).await;
    let held = next(&mut first).await;
    first.pause().await;
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 1).await;
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        seen.insert(next_number(&mut second).await);
    }
    assert_eq!(seen, BTreeSet::from([1, 2]));
    drop(held);
    assert_eq!(next_number(&mut second).await, 0);
    pair.send_numbers(&kind, 6..10).await;
    for _ in 6..10 {
        seen.insert(next_number(&mut second).await);
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 6, 7, 8, 9]));
}

pub async fn a_paused_consumer_may_leave(pair: &HostPair) {
    let kind = pair.kind();
    let (worker, mut first) = pair.join(&kind, 2).await;
    pair.send_numbers(&kind, 0..2).await;
    first.pause().await;
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 1).await;
    first.leave_type().await;
    first.resume().await;
    pair.send(pair.job(&[&*worker.id], &7)).await;
    assert_eq!(next_number(&mut first).await, 7);
    first.stop().await;
    assert!(first.next().await.is_none());
    drop(first);
    pair.send_numbers(&kind, [2]).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        seen.insert(next_number(&mut second).await);
    }
    assert_eq!(seen, BTreeSet::from([0, 1, 2]));
}

pub async fn a_paused_consumer_stays_when_another_leaves(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 1).await;
    let (_, mut second) = pair.join(&kind, 1).await;
    first.pause().await;
    second.stop().await;
    drop(second);
    // Nobody is told that there is no worker.
    pair.send_numbers(&kind, [1]).await;
    first.resume().await;
    assert_eq!(next_number(&mut first).await, 1);
}

pub async fn a_stopped_consumer_can_still_settle(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 4).await;
    pair.send_numbers(&kind, 0..4).await;
    let [done, back, again, dropped] =
        [next(&mut first).await, next(&mut first).await, next(&mut first).await, next(&mut first).await];
    let (_, mut second) = pair.join(&kind, 4).await;
    first.stop().await;
    done.ack().await.unwrap();
    back.requeue().await.unwrap();
    again.retry(Duration::from_millis(1)).await.unwrap();
    drop(dropped);
    let mut seen = BTreeMap::new();
    for _ in 0..3 {
        let delivery = next(&mut second).await;
        seen.insert(number(&delivery.job), (delivery.job.attempt, delivery.redelivered));
        delivery.ack().await.unwrap();
    }
    assert_eq!(seen.remove(&2).map(|(attempt, _)| attempt), Some(2));
    assert_eq!(seen, BTreeMap::from([(1, (1, true)), (3, (1, true))]));
    drop(first);
    pair.send_numbers(&kind, [9]).await;
    assert_eq!(next_number(&mut second).await, 9);
}

pub async fn a_cancelled_next_loses_nothing(pair: &HostPair) {
    const JOBS: u32 = 200;
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 2).await;
    let jobs: Vec<_> = (0..JOBS).map(|number| pair.numbered(&kind, number)).collect();
    let bus = std::sync::Arc::clone(&pair.other);
    let sender = tokio::spawn(async move {
        for job in jobs {
            bus.send(job).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let start = Instant::now();
    let mut expected = 0;
    while expected < JOBS {
        assert!(start.elapsed() < Duration::from_secs(60), "stuck at job {expected}");
        // Given up at any moment, often between the arrival of a job and its return.
        let delivery = tokio::select! {
            biased;
            delivery = consumer.next() => delivery.unwrap(),
            () = tokio::task::yield_now() => continue,
        };
        let number = number(&delivery.job);
        assert_eq!((number, delivery.redelivered), (expected, false));
        delivery.ack().await.unwrap();
        expected += 1;
    }
    sender.await.unwrap();
}

pub async fn random_failures_lose_nothing(pair: &HostPair) {
    const JOBS: u32 = 120;
    let kind = pair.kind();
    let mut consumers = Vec::new();
    for _ in 0..3 {
        consumers.push(pair.join(&kind, 3).await.1);
    }
    pair.send_numbers(&kind, 0..JOBS).await;
    let mut done = BTreeSet::new();
    // What each job must look like when it comes again: its attempt, and whether it must be flagged.
    let mut expected: BTreeMap<u32, (u32, bool)> = BTreeMap::new();
    let mut step = 0_u32;
    while done.len() < JOBS as usize {
        step += 1;
        let delivery = super::host_pair::limited("any delivery", async {
            let nexts = consumers.iter_mut().map(|consumer| consumer.next());
            futures::future::select_all(nexts).await.0.unwrap()
        })
        .await;
        let number = number(&delivery.job);
        let (attempt, flagged) = expected.get(&number).copied().unwrap_or((1, false));
        assert_eq!(delivery.job.attempt, attempt, "job {number}");
        assert!(delivery.redelivered || !flagged, "job {number} came again without saying so");
        // A fixed but scattered choice, so that a failure can be repeated.
        match step.wrapping_mul(2_654_435_761) >> 29 {
            0 => drop(delivery),
            1 => delivery.requeue().await.unwrap(),
            2 => {
                delivery.retry(Duration::from_millis(u64::from(step % 3))).await.unwrap();
                expected.insert(number, (attempt + 1, false));
                continue;
            }
            3 => {
                // A worker goes, maybe the one that this delivery is from, and another comes.
                let gone = step as usize % consumers.len();
                consumers[gone] = pair.join(&kind, 3).await.1;
                drop(delivery);
            }
            _ => {
                delivery.ack().await.unwrap();
                assert!(done.insert(number), "job {number} was done twice");
                continue;
            }
        }
        expected.insert(number, (attempt, true));
    }
}
