//! Jobs that the engine itself gives up, and those that wait though there is no worker.

use mshost_bus::{Absent, Death, DeathReason, SendError};
use mshost_core::metrics::Metrics;

use super::*;
use crate::EmbeddedOptions;

fn open(limits: BusLimits, absent: Absent) -> EmbeddedBus {
    let metrics = Some(Metrics::new().unwrap());
    EmbeddedBus::open(EmbeddedOptions { codec: Codec::Json, limits, absent, journal: None, metrics }).unwrap()
}

fn counted(bus: &EmbeddedBus, reason: DeathReason) -> u64 {
    bus.core.dead_lettering.metrics.as_ref().unwrap().dead_letters.with_label_values(&["W", reason.name()]).get()
}

async fn reasons(bus: &EmbeddedBus) -> Vec<(String, DeathReason)> {
    let letters = bus.dead_letters().list(100).await.unwrap();
    letters.into_iter().map(|letter| (letter.id, letter.death.reason)).collect()
}

#[tokio::test]
async fn a_job_that_is_requeued_too_often_is_dead_lettered() {
    let bus = open(BusLimits { deliveries: 3, ..BusLimits::default() }, Absent::Fail);
    let mut consumer = join(&bus, W, 1).await;
    for (number, to) in [(0, "W:*"), (1, W)] {
        bus.send(job(to, number)).await.unwrap();
        drop(next(&mut consumer).await);
        next(&mut consumer).await.requeue().await.unwrap();
        // An attempt that failed in order begins anew.
        next(&mut consumer).await.retry(Duration::ZERO).await.unwrap();
        for _ in 0..3 {
            drop(next(&mut consumer).await);
        }
    }
    assert_eq!(reasons(&bus).await, [("J0".into(), DeathReason::Crashed), ("J1".into(), DeathReason::Crashed)]);
    assert_eq!(counted(&bus, DeathReason::Crashed), 2);
}

#[tokio::test]
async fn what_a_worker_leaves_behind_is_dead_lettered() {
    let bus = open(BusLimits::default(), Absent::Fail);
    let consumer = join(&bus, W, 1).await;
    bus.send(job(W, 0)).await.unwrap();
    bus.send(job(W, 1)).await.unwrap();
    drop(consumer);
    assert_eq!(reasons(&bus).await, [("J1".into(), DeathReason::NoWorker), ("J0".into(), DeathReason::NoWorker)]);
    assert_eq!(counted(&bus, DeathReason::NoWorker), 2);
}

#[tokio::test]
async fn an_expired_job_is_not_handed_out_and_makes_room() {
    let bus = open(BusLimits { queue: 1, ..BusLimits::default() }, Absent::Fail);
    let mut consumer = join(&bus, W, 1).await;
    bus.send(job("W:*", 0)).await.unwrap();
    bus.send(Job { deadline: Some(SystemTime::now() + Duration::from_millis(5)), ..job("W:*", 1) }).await.unwrap();
    let held = next(&mut consumer).await;
    // It waits for the place of the one that expires.
    limited(bus.send(job("W:*", 2))).await.unwrap();
    held.ack().await.unwrap();
    assert_eq!(next_number(&mut consumer).await, 2);
    assert_eq!(reasons(&bus).await, [("J1".into(), DeathReason::Expired)]);
    assert_eq!(counted(&bus, DeathReason::Expired), 1);
}

#[tokio::test]
async fn dead_letters_have_a_limit_and_what_they_cannot_take_comes_again() {
    let bus = open(BusLimits { dead_letters: 1, ..BusLimits::default() }, Absent::Fail);
    let mut consumer = join(&bus, W, 1).await;
    for number in 0..2 {
        bus.send(job("W:*", number)).await.unwrap();
    }
    let death = Death::now(DeathReason::Failed, "it failed", None);
    next(&mut consumer).await.dead_letter(death.clone()).await.unwrap();
    let error = next(&mut consumer).await.dead_letter(death).await.unwrap_err().to_string();
    assert!(error.contains("bus.dead_letter_limit"), "{error}");
    assert_eq!(bus.dead_letters().purge().await.unwrap(), 1);
    let again = next(&mut consumer).await;
    assert_eq!((number(&again.job), again.job.attempt), (1, 1));
}

#[tokio::test]
async fn only_types_that_had_workers_are_waited_for() {
    let bus =
        open(BusLimits { queue: 2, send_timeout: Duration::from_millis(20), ..BusLimits::default() }, Absent::Wait);
    assert!(matches!(bus.send(job("W:*", 0)).await, Err(SendError::NoWorker(_))));
    drop(join(&bus, W, 1).await);
    for number in 0..2 {
        bus.try_send(job("W:*", number)).unwrap().unwrap();
    }
    assert!(matches!(bus.send(job("W:*", 2)).await, Err(SendError::Unavailable(_))), "the queue has its limit");
    assert!(matches!(bus.send(job(W, 3)).await, Err(SendError::NoWorker(_))), "an id does not come again");
    let mut consumer = join(&bus, "W:1460306476109", 1).await;
    assert_eq!([next_number(&mut consumer).await, next_number(&mut consumer).await], [0, 1]);
}
