//! Jobs that come too late.
#![allow(clippy::missing_panics_doc, missing_docs)]

use std::time::{Duration, SystemTime};

use mshost_bus::{BusLimits, DeathReason, Job, Notification, Subscription};
use mshost_core::ids::WorkerRef;

use super::dead_letters::{keep, letter_of};
use super::host_pair::{HostPair, hear, next, next_number};

/// Soon enough that a check does not take long.
const SOON: Duration = Duration::from_millis(300);

/// The limits that these checks run with.
pub fn limits() -> BusLimits {
    BusLimits::default()
}

/// In whole milliseconds, as deadlines are kept.
fn after(wait: Duration) -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + wait;
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).unwrap())
}

/// The error that is reported of a job to a worker.
async fn reported(subscription: &mut Box<dyn Subscription>, job: &Job, to: &WorkerRef) -> String {
    hear(subscription, |notification| match notification {
        Notification::Error(failure) if failure.id == job.id && failure.target.id == to.id => Some(failure.error),
        _ => None,
    })
    .await
}

pub async fn a_job_that_expires_while_it_waits_is_buried_and_reported(pair: &HostPair) {
    let _kept = keep().await;
    let kind = pair.kind();
    let mut at_sender = pair.bus.subscribe().await.unwrap();
    let mut at_origin = pair.other.subscribe().await.unwrap();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    pair.send(pair.numbered(&kind, 1)).await;
    let held = next(&mut consumer).await;
    let origin = pair.worker(&pair.kind());
    let late = Job { deadline: Some(after(SOON)), origin: origin.clone(), ..pair.numbered(&kind, 2) };
    pair.send(late.clone()).await;
    for error in [reported(&mut at_sender, &late, &late.sender).await, reported(&mut at_origin, &late, &origin).await] {
        assert!(error.starts_with("Job expired: "), "{error}");
    }
    let letter = letter_of(pair, &late).await;
    assert_eq!(letter.death.reason, DeathReason::Expired);
    let job = letter.job.unwrap();
    assert_eq!((&job.id, job.attempt, job.deadline), (&late.id, 1, late.deadline));
    held.ack().await.unwrap();
    pair.send(pair.numbered(&kind, 3)).await;
    assert_eq!(next_number(&mut consumer).await, 3);
}

pub async fn a_job_that_expires_while_nobody_is_there_is_not_delivered(pair: &HostPair) {
    let _kept = keep().await;
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 1).await;
    pair.send(pair.numbered(&kind, 1)).await;
    let held = next(&mut first).await;
    let late = Job { deadline: Some(after(SOON)), ..pair.numbered(&kind, 2) };
    pair.send(late.clone()).await;
    first.stop().await;
    held.ack().await.unwrap();
    drop(first);
    assert_eq!(letter_of(pair, &late).await.death.reason, DeathReason::Expired);
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 1).await;
    pair.send(pair.numbered(&kind, 3)).await;
    assert_eq!(next_number(&mut second).await, 3);
}

pub async fn the_deadline_travels_with_a_retry(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    let deadline = Some(after(Duration::from_secs(3600)));
    let job = Job { deadline, ..pair.numbered(&kind, 1) };
    pair.send(job.clone()).await;
    for (attempt, wait) in [(1, Duration::ZERO), (2, Duration::from_millis(2)), (3, Duration::ZERO)] {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.job, Job { attempt, ..job.clone() });
        delivery.retry(wait).await.unwrap();
    }
    next(&mut consumer).await.ack().await.unwrap();
}
