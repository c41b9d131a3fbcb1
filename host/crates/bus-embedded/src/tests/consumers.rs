//! Consumers that join and leave, and which of them are woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use mshost_bus::{BusError, BusState, Event, Notification};

use super::*;

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_job_wakes_one_worker_and_no_other() {
    let bus = bus(BusLimits::default());
    let wakes = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&wakes));
    let mut consumers = Vec::new();
    for number in 0..5 {
        consumers.push(join(&bus, &format!("{W}-{number}"), 2).await);
    }
    let mut nexts: Vec<_> = consumers.iter_mut().map(|consumer| consumer.next()).collect();
    for next in &mut nexts {
        assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    for sent in 1..=5 {
        bus.try_send(job("W:*", 0)).unwrap().unwrap();
        assert_eq!(wakes.0.load(Ordering::Relaxed), sent);
    }
    // All are awake by now.
    bus.try_send(job("W:*", 0)).unwrap().unwrap();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_worker_that_is_woken_and_dropped_passes_its_job_on() {
    let bus = bus(BusLimits::default());
    let mut first = join(&bus, W, 1).await;
    let mut waiting = first.next();
    assert!(poll_once(&mut waiting).is_none());
    let mut second = join(&bus, "W:1460306476109", 1).await;
    bus.send(job("W:*", 0)).await.unwrap();
    bus.send(job("W:*", 1)).await.unwrap();
    bus.send(job("W:*", 2)).await.unwrap();
    drop(waiting);
    drop(first);
    // The first job is back at the front; no consumer has seen it.
    let delivery = next(&mut second).await;
    assert_eq!(number(&delivery.job), 1);
    delivery.ack().await.unwrap();
    let delivery = next(&mut second).await;
    assert_eq!((number(&delivery.job), delivery.redelivered), (0, false));
    delivery.ack().await.unwrap();
    assert_eq!(next_number(&mut second).await, 2);
}

#[tokio::test]
async fn jobs_are_handed_back_in_order() {
    let bus = bus(BusLimits::default());
    let mut first = join(&bus, W, 3).await;
    for number in 0..5 {
        bus.send(job("W:*", number)).await.unwrap();
    }
    // The first is settled, and the fourth gets its place; the fifth is with the worker, but not returned.
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut first).await);
    }
    held.remove(0).ack().await.unwrap();
    held.push(next(&mut first).await);
    held.remove(0).ack().await.unwrap();
    drop(first);
    let mut second = join(&bus, "W:1460306476109", 1).await;
    for (expected, redelivered) in [(2, true), (3, true), (4, false)] {
        let delivery = next(&mut second).await;
        assert_eq!((number(&delivery.job), delivery.redelivered), (expected, redelivered));
        delivery.ack().await.unwrap();
    }
}

#[tokio::test]
async fn impossible_places_are_refused() {
    let bus = bus(BusLimits::default());
    let consumer = join(&bus, W, 1).await;
    let refused = async |worker: WorkerRef, prefetch| match bus.join(&worker, ConsumerOptions::new(prefetch)).await {
        Err(BusError::Refused { what, reason }) => format!("{what}: {reason}"),
        other => panic!("{:?}", other.err()),
    };
    assert_eq!(refused(worker(W), 1).await, format!("joining as {W}: a worker of this id is on the bus already"));
    assert!(refused(worker("W:1460306476109"), 0).await.contains("prefetch of 0"));
    let foreign =
        WorkerRef { worker_type: mshost_core::ids::WorkerType::new("X").unwrap(), ..worker("W:1460306476109") };
    assert!(refused(foreign, 1).await.contains("not one of the type X"));
    drop(consumer);
    join(&bus, W, 1).await;
}

#[tokio::test]
async fn types_that_come_and_go_leave_nothing_behind() {
    let bus = bus(BusLimits::default());
    for number in 0..100 {
        let id = format!("W{number}:1460306476102");
        let mut consumer = join(&bus, &id, 1).await;
        bus.send(job(&id, 0)).await.unwrap();
        bus.send(job(&format!("W{number}"), 1)).await.unwrap();
        assert_eq!(next_number(&mut consumer).await, 0);
        assert_eq!(next_number(&mut consumer).await, 1);
    }
    assert_eq!(bus.depths().await, []);
    assert_eq!(bus.core.groups.len(), 0);
}

#[tokio::test]
async fn dropping_the_bus_closes_it_for_those_who_are_left() {
    let bus = bus(BusLimits::default());
    let mut state = bus.state();
    let mut subscription = bus.subscribe().await.unwrap();
    let mut consumer = join(&bus, W, 2).await;
    bus.send(job(W, 0)).await.unwrap();
    bus.send(job(W, 1)).await.unwrap();
    let [first, second] = [next(&mut consumer).await, next(&mut consumer).await];
    drop(bus);
    assert!(limited(consumer.next()).await.is_none());
    assert_eq!(limited(subscription.next()).await, None);
    limited(state.wait_for(|state| *state == BusState::Closed)).await.unwrap();
    assert!(matches!(first.ack().await, Err(BusError::Closed)));
    assert!(matches!(second.retry(Duration::from_millis(1)).await, Err(BusError::Closed)));
    consumer.stop().await;
}

#[tokio::test]
async fn a_slow_subscriber_is_told_how_much_it_missed() {
    let bus = bus(BusLimits { notifications: 8, ..BusLimits::default() });
    let mut subscription = bus.subscribe().await.unwrap();
    for _ in 0..20 {
        bus.publish(Notification::GetAll).await.unwrap();
    }
    assert_eq!(subscription.next().await, Some(Event::Missed(12)));
    for _ in 0..8 {
        assert_eq!(subscription.next().await, Some(Event::Notification(Notification::GetAll)));
    }
}
