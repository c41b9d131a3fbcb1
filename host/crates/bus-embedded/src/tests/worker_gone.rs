//! Jobs for one worker that has left: no other may do them, and they must not vanish in silence.

use std::time::Duration;

use mshost_bus::{Event, Failure, Notification, Subscription};

use super::*;

async fn hear(subscription: &mut Box<dyn Subscription>) -> Failure {
    match limited(subscription.next()).await {
        Some(Event::Notification(Notification::Error(failure))) => failure,
        other => panic!("expected a report of a failed job, found {other:?}"),
    }
}

fn report(job: &Job, target: &WorkerRef) -> Failure {
    Failure {
        target: target.clone(),
        error: format!("no worker available for {W}"),
        id: job.id.clone(),
        correlation: job.correlation.clone(),
        reporter: None,
        payload: Some(job.payload.clone()),
    }
}

#[tokio::test]
async fn sender_and_origin_hear_of_what_waited_and_of_what_was_in_hand() {
    let bus = bus(BusLimits::default());
    let mut subscription = bus.subscribe().await.unwrap();
    let mut consumer = join(&bus, W, 1).await;
    let mut jobs = [job(W, 0), job(W, 1)];
    for job in &mut jobs {
        job.origin = worker("O:1460306476104");
        bus.send(job.clone()).await.unwrap();
    }
    let held = next(&mut consumer).await;
    drop(consumer);
    // What waited is reported before what was in hand.
    for job in [&jobs[1], &jobs[0]] {
        assert_eq!(hear(&mut subscription).await, report(job, &job.origin));
        assert_eq!(hear(&mut subscription).await, report(job, &job.sender));
    }
    held.ack().await.unwrap_err();
    // Nothing was told twice.
    bus.publish(Notification::GetAll).await.unwrap();
    assert_eq!(limited(subscription.next()).await, Some(Event::Notification(Notification::GetAll)));
}

#[tokio::test]
async fn a_sender_that_is_the_origin_hears_once() {
    let bus = bus(BusLimits::default());
    let mut subscription = bus.subscribe().await.unwrap();
    let mut consumer = join(&bus, W, 1).await;
    let jobs = [job(W, 0), job(W, 1)];
    for job in &jobs {
        bus.send(job.clone()).await.unwrap();
    }
    consumer.stop().await;
    assert_eq!(hear(&mut subscription).await, report(&jobs[1], &jobs[1].sender));
    assert_eq!(hear(&mut subscription).await, report(&jobs[0], &jobs[0].sender));
}

#[tokio::test]
async fn what_a_stopped_worker_hands_back_is_reported() {
    let bus = bus(BusLimits::default());
    let mut consumer = join(&bus, W, 3).await;
    for number in 0..3 {
        bus.send(job(W, number)).await.unwrap();
    }
    let held = [next(&mut consumer).await, next(&mut consumer).await, next(&mut consumer).await];
    consumer.stop().await;
    let mut subscription = bus.subscribe().await.unwrap();
    let [requeued, retried, delayed] = held;
    requeued.requeue().await.unwrap();
    assert_eq!(hear(&mut subscription).await.id, job(W, 0).id);
    retried.retry(Duration::ZERO).await.unwrap();
    assert_eq!(hear(&mut subscription).await.id, job(W, 1).id);
    delayed.retry(Duration::from_millis(1)).await.unwrap();
    assert_eq!(hear(&mut subscription).await.id, job(W, 2).id);
}

#[tokio::test]
async fn a_delayed_job_is_reported_when_its_worker_leaves_meanwhile() {
    let bus = bus(BusLimits::default());
    let mut subscription = bus.subscribe().await.unwrap();
    let mut consumer = join(&bus, W, 1).await;
    bus.send(job(W, 0)).await.unwrap();
    next(&mut consumer).await.retry(Duration::from_millis(10)).await.unwrap();
    drop(consumer);
    assert_eq!(hear(&mut subscription).await.id, job(W, 0).id);
    assert_eq!(bus.depths().await, []);
}
