//! Jobs that are given up, and what a person can do about them.
//!
//! Checks may share one broker, and with it the dead letters of others: each looks for its own, and the one that purges
//! them all has the bus for itself.
#![allow(clippy::missing_panics_doc, missing_docs)]

use mshost_bus::{Bus, BusLimits, Consumer, DeadLetter, Death, DeathReason, Job, Requeued, SendError};
use tokio::sync::RwLock;

use super::stage::{Stage, eventually, limited, next, next_number};

/// More than all checks together leave behind.
const ALL: usize = 10_000;

/// Held by the checks whose dead letters must stay; to write is to purge.
static KEPT: RwLock<()> = RwLock::const_new(());

/// The limits that these checks run with.
pub fn limits() -> BusLimits {
    BusLimits::default()
}

/// Waits for the dead letter of a job.
pub(super) async fn letter_of(stage: &Stage, job: &Job) -> DeadLetter {
    eventually("the dead letter of a job", async || {
        let letters = limited("list", stage.other.dead_letters(ALL)).await.unwrap();
        let count = letters.len();
        letters.into_iter().find(|letter| letter.id == *job.id).ok_or(format!("{count} others"))
    })
    .await
}

/// Waits until the dead letter of a job is gone.
async fn until_gone(stage: &Stage, job: &Job) {
    eventually("no dead letter of the job", async || {
        let letters = limited("list", stage.bus.dead_letters(ALL)).await.unwrap();
        letters.into_iter().find(|letter| letter.id == *job.id).map_or(Ok(()), |letter| Err(format!("{letter:?}")))
    })
    .await;
}

/// Requeues a dead letter. A broker may not have back yet what somebody has just looked at: then it seems unknown.
async fn requeue(stage: &Stage, bus: &dyn Bus, job: &Job) -> Requeued {
    eventually("the dead letter to be found", async || {
        letter_of(stage, job).await;
        let requeued = limited("requeue", bus.requeue_dead(&[job.id.to_string()])).await.unwrap();
        if requeued.unknown.is_empty() { Ok(requeued) } else { Err(format!("{requeued:?}")) }
    })
    .await
}

/// Sends a job and has its worker give it up, as its third attempt.
async fn buried(stage: &Stage, route: &str, consumer: &mut Box<dyn Consumer>) -> Job {
    let job = Job { attempt: 3, ..stage.job(&[route, "Later:*"], &7) };
    stage.send(job.clone()).await;
    let death = Death::now(DeathReason::Failed, "no disk is large enough", Some(stage.worker(&stage.kind())));
    next(consumer).await.bury(death).await.unwrap();
    job
}

pub async fn a_buried_job_is_listed_and_does_not_come_again(stage: &Stage) {
    let _kept = KEPT.read().await;
    let kind = stage.kind();
    let (worker, mut consumer) = stage.join(&kind, 1).await;
    let mut job = stage.job(&[&kind, "Later:*"], &7);
    job.correlation = stage.job_id();
    job.origin = stage.worker(&stage.kind());
    stage.send(job.clone()).await;
    let death = Death::now(DeathReason::Failed, "no disk is large enough", Some(worker.clone()));
    next(&mut consumer).await.bury(death).await.unwrap();
    let letter = letter_of(stage, &job).await;
    assert_eq!(letter.job.as_ref(), Some(&job));
    assert_eq!((letter.death.reason, &*letter.death.error), (DeathReason::Failed, "no disk is large enough"));
    assert_eq!(letter.death.worker, Some(worker));
    drop(consumer);
    let (_, mut consumer) = stage.join_at(&*stage.other, &kind, 2).await;
    stage.send(stage.numbered(&kind, 8)).await;
    assert_eq!(next_number(&mut consumer).await, 8);
}

pub async fn a_dead_letter_of_another_bus_is_kept_and_can_be_sent_again(stage: &Stage) {
    let _kept = KEPT.read().await;
    let kind = stage.kind();
    let (worker, mut consumer) = stage.join(&kind, 1).await;
    let job = stage.job(&[&kind, "Later:*"], &serde_json::json!(7));
    let death = Death::now(DeathReason::Failed, "no disk is large enough", Some(worker));
    let letter = DeadLetter { id: job.id.to_string(), job: Some(job.clone()), raw: None, death: death.clone() };
    limited("keep", stage.bus.keep_dead(letter)).await.unwrap();
    let kept = letter_of(stage, &job).await;
    assert_eq!((kept.job.as_ref(), kept.death.reason, &kept.death.error), (Some(&job), death.reason, &death.error));
    assert_eq!(requeue(stage, &*stage.bus, &job).await.sent, [job.id.to_string()]);
    assert_eq!(next(&mut consumer).await.job.payload, job.payload);
}

pub async fn a_dead_letter_is_sent_again_as_a_first_attempt(stage: &Stage) {
    let _kept = KEPT.read().await;
    let kind = stage.kind();
    let (_, mut consumer) = stage.join(&kind, 1).await;
    let job = buried(stage, &kind, &mut consumer).await;
    let requeued = requeue(stage, &*stage.other, &job).await;
    assert_eq!(requeued.sent, [job.id.to_string()], "{requeued:?}");
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.job, Job { attempt: 1, deadline: None, ..job.clone() });
    delivery.ack().await.unwrap();
    until_gone(stage, &job).await;
}

pub async fn a_dead_letter_that_cannot_be_sent_stays_one(stage: &Stage) {
    let _kept = KEPT.read().await;
    let kind = stage.kind();
    let (worker, mut consumer) = stage.join(&kind, 1).await;
    let job = buried(stage, &worker.id, &mut consumer).await;
    consumer.stop().await;
    drop(consumer);
    eventually("a refusal", async || {
        let requeued = requeue(stage, &*stage.bus, &job).await;
        match &requeued.refused[..] {
            [(id, SendError::NoWorker(to))] if *id == *job.id && to == job.route.target() => Ok(()),
            // The queue of the worker was still there, and its end buries the job again.
            _ => Err(format!("{requeued:?}")),
        }
    })
    .await;
    letter_of(stage, &job).await;
}

pub async fn unknown_dead_letters_are_named(stage: &Stage) {
    let _kept = KEPT.read().await;
    let nobody = stage.job_id().to_string();
    let requeued = limited("requeue", stage.bus.requeue_dead(std::slice::from_ref(&nobody))).await.unwrap();
    assert_eq!((requeued.unknown, requeued.sent.len(), requeued.refused.len()), (vec![nobody], 0, 0));
}

pub async fn purged_dead_letters_are_gone(stage: &Stage) {
    let _alone = KEPT.write().await;
    let kind = stage.kind();
    let (_, mut consumer) = stage.join(&kind, 1).await;
    let jobs = [buried(stage, &kind, &mut consumer).await, buried(stage, &kind, &mut consumer).await];
    for job in &jobs {
        letter_of(stage, job).await;
    }
    let mut purged = 0;
    eventually("two dead letters to be purged", async || {
        purged += limited("purge", stage.other.purge_dead()).await.unwrap();
        if purged >= 2 { Ok(()) } else { Err(purged.to_string()) }
    })
    .await;
    for job in &jobs {
        until_gone(stage, job).await;
    }
}

/// Keeps the dead letters of a check from being purged.
pub(super) async fn keep() -> tokio::sync::RwLockReadGuard<'static, ()> {
    KEPT.read().await
}
