//! Full queues and those who wait for room.

use std::time::Duration;

use mshost_bus::{QueueDepth, SendError};
use mshost_core::ids::Address;

use super::*;

fn limits(queue: usize) -> BusLimits {
    BusLimits { queue, ..BusLimits::default() }
}

fn no_worker(to: &str) -> Result<(), SendError> {
    Err(SendError::NoWorker(Address::new(to).unwrap()))
}

#[tokio::test]
async fn a_sender_that_waits_in_vain_hears_where_and_what_to_do() {
    let bus = bus(BusLimits { send_timeout: Duration::from_millis(20), ..limits(1) });
    let mut consumer = join(&bus, W, 1).await;
    for number in 0..2 {
        bus.send(job("W:*", number)).await.unwrap();
    }
    let error = limited(bus.send(job("W:*", 2))).await.unwrap_err().to_string();
    for part in ["queue W:* has held its 1 jobs", "20ms", "bus.queue_limit", "bus.send_timeout", "instances"] {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
    // Nothing was sent.
    assert_eq!(next_number(&mut consumer).await, 0);
    assert_eq!(next_number(&mut consumer).await, 1);
    bus.send(job("W:*", 3)).await.unwrap();
    assert_eq!(next_number(&mut consumer).await, 3);
}

#[tokio::test]
async fn a_job_that_finds_no_room_is_given_back() {
    let bus = bus(limits(1));
    let _consumer = join(&bus, W, 1).await;
    for number in 0..2 {
        bus.try_send(job(W, number)).unwrap().unwrap();
    }
    assert_eq!(*bus.try_send(job(W, 2)).unwrap_err(), job(W, 2));
    // The other queue of the worker has a limit of its own.
    bus.try_send(job("W:*", 3)).unwrap().unwrap();
    assert_eq!(*bus.try_send(job("W:*", 4)).unwrap_err(), job("W:*", 4));
}

#[tokio::test]
async fn senders_in_line_are_served_in_order_and_nobody_overtakes_them() {
    for to in ["W:*", W] {
        let bus = bus(limits(1));
        let mut consumer = join(&bus, W, 1).await;
        let mut senders: Vec<_> = (0..10).map(|number| bus.send(job(to, number))).collect();
        for (at, sender) in senders.iter_mut().enumerate() {
            // One in hand, one in the queue, the others in senders.
            assert_eq!(poll_once(sender), (at < 2).then_some(Ok(())));
        }
        for number in 0..8 {
            assert_eq!(next_number(&mut consumer).await, number);
            assert_eq!(*bus.try_send(job(to, 99)).unwrap_err(), job(to, 99));
            assert_eq!(limited(&mut senders[number as usize + 2]).await, Ok(()));
        }
    }
}

#[tokio::test]
async fn a_sender_that_gives_up_leaves_the_line() {
    for to in ["W:*", W] {
        let bus = bus(limits(1));
        let mut consumer = join(&bus, W, 1).await;
        let mut senders: Vec<_> = (0..6).map(|number| bus.send(job(to, number))).collect();
        for sender in &mut senders {
            poll_once(sender);
        }
        // The first in senders, one from its middle, and the last.
        for gone in [5, 4, 2] {
            drop(senders.remove(gone));
        }
        for number in [0, 1, 3] {
            assert_eq!(next_number(&mut consumer).await, number);
        }
        bus.send(job(to, 9)).await.unwrap();
        assert_eq!(next_number(&mut consumer).await, 9);
    }
}

#[tokio::test]
async fn senders_in_line_are_refused_when_the_last_worker_leaves() {
    let bus = bus(limits(1));
    let consumer = join(&bus, W, 1).await;
    let mut by_type: Vec<_> = (0..4).map(|number| bus.send(job("W:*", number))).collect();
    let mut by_id: Vec<_> = (4..8).map(|number| bus.send(job(W, number))).collect();
    by_type.iter_mut().chain(&mut by_id).for_each(|sender| drop(poll_once(sender)));
    drop(consumer);
    assert_eq!(limited(by_type.pop().unwrap()).await, no_worker("W:*"));
    assert_eq!(limited(by_id.pop().unwrap()).await, no_worker(W));
    assert_eq!(bus.send(job("W:*", 9)).await, no_worker("W:*"));
    // What was accepted for the type waits for the next worker: the job that was in hand first.
    let mut consumer = join(&bus, "W:1460306476109", 1).await;
    let first = next(&mut consumer).await;
    assert_eq!((number(&first.job), first.redelivered), (0, false));
    first.ack().await.unwrap();
    assert_eq!(next_number(&mut consumer).await, 1);
}

#[tokio::test]
async fn delayed_jobs_keep_their_places() {
    let bus = bus(limits(1));
    let mut consumer = join(&bus, W, 1).await;
    bus.send(job("W:*", 0)).await.unwrap();
    next(&mut consumer).await.retry(Duration::from_secs(3600)).await.unwrap();
    // The worker is free; the queue is not.
    bus.send(job("W:*", 1)).await.unwrap();
    let held = next(&mut consumer).await;
    let mut waiting = bus.send(job("W:*", 2));
    assert_eq!(poll_once(&mut waiting), None);
    let depth = QueueDepth { queue: "W:*".into(), ready: 1, unsettled: 1, consumers: 1 };
    assert!(bus.depths().await.contains(&depth));
    // The only place is kept for an hour, yet the senders goes on as soon as the worker can take its job.
    held.ack().await.unwrap();
    assert_eq!(limited(waiting).await, Ok(()));
    assert_eq!(next_number(&mut consumer).await, 2);
}
