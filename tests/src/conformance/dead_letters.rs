//! Jobs that are given up, and what a person can do about them.
//!
//! Checks may share one broker, and with it the dead letters of others: each looks for its own, and the one that purges
//! them all has the bus for itself.
#![allow(clippy::missing_panics_doc, missing_docs)]

use mshost_bus::{BusLimits, Consumer, DeadLetter, Death, DeathReason, HostBus, Job, Requeued, SendError};
use tokio::sync::RwLock;

use super::host_pair::{HostPair, eventually, limited, next, next_number};

/// More than all checks together leave behind.
const ALL: usize = 10_000;

/// Held by the checks whose dead letters must stay; to write is to purge.
static KEPT: RwLock<()> = RwLock::const_new(());

/// The limits that these checks run with.
pub fn limits() -> BusLimits {
    BusLimits::default()
}

/// Waits for the dead letter of a job.
pub(super) async fn letter_of(pair: &HostPair, job: &Job) -> DeadLetter {
    eventually("the dead letter of a job", async || {
        let letters = limited("list", pair.other.dead_letters().list(ALL)).await.unwrap();
        let count = letters.len();
        letters.into_iter().find(|letter| letter.id == *job.id).ok_or(format!("{count} others"))
    })
    .await
}

/// Waits until the dead letter of a job is gone.
async fn until_gone(pair: &HostPair, job: &Job) {
    eventually("no dead letter of the job", async || {
        let letters = limited("list", pair.bus.dead_letters().list(ALL)).await.unwrap();
        letters.into_iter().find(|letter| letter.id == *job.id).map_or(Ok(()), |letter| Err(format!("{letter:?}")))
    })
    .await;
}

/// Requeues a dead letter. A broker may not have back yet what somebody has just looked at: then it seems unknown.
async fn requeue(pair: &HostPair, bus: &dyn HostBus, job: &Job) -> Requeued {
    eventually("the dead letter to be found", async || {
        letter_of(pair, job).await;
        let requeued = limited("requeue", bus.dead_letters().requeue(&[job.id.to_string()])).await.unwrap();
        if requeued.unknown.is_empty() { Ok(requeued) } else { Err(format!("{requeued:?}")) }
    })
    .await
}

/// Sends a job and has its worker give it up, as its third attempt.
async fn buried(pair: &HostPair, route: &str, consumer: &mut Box<dyn Consumer>) -> Job {
    let job = Job { attempt: 3, ..pair.job(&[route, "Later:*"], &7) };
    pair.send(job.clone()).await;
    let death = Death::now(DeathReason::Failed, "no disk is large enough", Some(pair.worker(&pair.kind())));
    next(consumer).await.dead_letter(death).await.unwrap();
    job
}

pub async fn a_buried_job_is_listed_and_does_not_come_again(pair: &HostPair) {
    let _kept = KEPT.read().await;
    let kind = pair.kind();
    let (worker, mut consumer) = pair.join(&kind, 1).await;
    let mut job = pair.job(&[&kind, "Later:*"], &7);
    job.correlation = pair.job_id();
    job.origin = pair.worker(&pair.kind());
    pair.send(job.clone()).await;
    let death = Death::now(DeathReason::Failed, "no disk is large enough", Some(worker.clone()));
    next(&mut consumer).await.dead_letter(death).await.unwrap();
    let letter = letter_of(pair, &job).await;
    assert_eq!(letter.job.as_ref(), Some(&job));
    assert_eq!((letter.death.reason, &*letter.death.error), (DeathReason::Failed, "no disk is large enough"));
    assert_eq!(letter.death.worker, Some(worker));
    drop(consumer);
    let (_, mut consumer) = pair.join_at(&*pair.other, &kind, 2).await;
    pair.send(pair.numbered(&kind, 8)).await;
    assert_eq!(next_number(&mut consumer).await, 8);
}

pub async fn a_dead_letter_of_another_bus_is_kept_and_can_be_sent_again(pair: &HostPair) {
    let _kept = KEPT.read().await;
    let kind = pair.kind();
    let (worker, mut consumer) = pair.join(&kind, 1).await;
    let job = pair.job(&[&kind, "Later:*"], &serde_json::json!(7));
    let death = Death::now(DeathReason::Failed, "no disk is large enough", Some(worker));
    let letter = DeadLetter { id: job.id.to_string(), job: Some(job.clone()), raw: None, death: death.clone() };
    limited("keep", pair.bus.dead_letters().keep(letter)).await.unwrap();
    let kept = letter_of(pair, &job).await;
    assert_eq!((kept.job.as_ref(), kept.death.reason, &kept.death.error), (Some(&job), death.reason, &death.error));
    assert_eq!(requeue(pair, &*pair.bus, &job).await.sent, [job.id.to_string()]);
    assert_eq!(next(&mut consumer).await.job.payload, job.payload);
}

pub async fn a_dead_letter_is_sent_again_as_a_first_attempt(pair: &HostPair) {
    let _kept = KEPT.read().await;
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    let job = buried(pair, &kind, &mut consumer).await;
    let requeued = requeue(pair, &*pair.other, &job).await;
    assert_eq!(requeued.sent, [job.id.to_string()], "{requeued:?}");
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.job, Job { attempt: 1, deadline: None, ..job.clone() });
    delivery.ack().await.unwrap();
    until_gone(pair, &job).await;
}

pub async fn a_dead_letter_that_cannot_be_sent_stays_one(pair: &HostPair) {
    let _kept = KEPT.read().await;
    let kind = pair.kind();
    let (worker, mut consumer) = pair.join(&kind, 1).await;
    let job = buried(pair, &worker.id, &mut consumer).await;
    consumer.stop().await;
    drop(consumer);
    eventually("a refusal", async || {
        let requeued = requeue(pair, &*pair.bus, &job).await;
        match &requeued.refused[..] {
            [(id, SendError::NoWorker(to))] if *id == *job.id && to == job.route.target() => Ok(()),
            // The queue of the worker was still there, and its end buries the job again.
            _ => Err(format!("{requeued:?}")),
        }
    })
    .await;
    letter_of(pair, &job).await;
}

pub async fn unknown_dead_letters_are_named(pair: &HostPair) {
    let _kept = KEPT.read().await;
    let nobody = pair.job_id().to_string();
    let requeued = limited("requeue", pair.bus.dead_letters().requeue(std::slice::from_ref(&nobody))).await.unwrap();
    assert_eq!((requeued.unknown, requeued.sent.len(), requeued.refused.len()), (vec![nobody], 0, 0));
}

pub async fn purged_dead_letters_are_gone(pair: &HostPair) {
    let _alone = KEPT.write().await;
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    let jobs = [buried(pair, &kind, &mut consumer).await, buried(pair, &kind, &mut consumer).await];
    for job in &jobs {
        letter_of(pair, job).await;
    }
    let mut purged = 0;
    eventually("two dead letters to be purged", async || {
        purged += limited("purge", pair.other.dead_letters().purge()).await.unwrap();
        if purged >= 2 { Ok(()) } else { Err(purged.to_string()) }
    })
    .await;
    for job in &jobs {
        until_gone(pair, job).await;
    }
}

/// Keeps the dead letters of a check from being purged.
pub(super) async fn keep() -> tokio::sync::RwLockReadGuard<'static, ()> {
    KEPT.read().await
}
