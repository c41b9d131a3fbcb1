use mshost_bus::{BusError, DeadLetter, Death, DeathReason};

use super::journal::open;
use super::*;
use crate::dead_letters::DeadLetterList;

fn failed() -> Death {
    Death::now(DeathReason::Failed, "told to fail", Some(worker(W)))
}

#[tokio::test]
async fn dead_letters_are_sent_again_and_may_come_back() {
    let bus = bus(BusLimits::default());
    let mut consumer = join(&bus, W, 8).await;
    for number in [1, 2] {
        bus.send(job("W:*", number)).await.unwrap();
    }
    for _ in 0..2 {
        next(&mut consumer).await.dead_letter(failed()).await.unwrap();
    }
    assert_eq!(bus.dead_letters().count().await, Some(2));
    let requeued = bus.dead_letters().requeue(&["J1".to_owned(), "J3".to_owned()]).await.unwrap();
    assert_eq!((requeued.sent, requeued.unknown), (vec!["J1".to_owned()], vec!["J3".to_owned()]));
    assert_eq!(bus.dead_letters().count().await, Some(1));
    next(&mut consumer).await.dead_letter(failed()).await.unwrap();
    let left: Vec<_> = bus.dead_letters().list(10).await.unwrap().into_iter().map(|letter| letter.id).collect();
    assert_eq!(left, ["J2", "J1"], "the one that failed again is the youngest");
    assert_eq!(bus.dead_letters().purge().await.unwrap(), 2);
    assert_eq!(bus.dead_letters().count().await, Some(0));
}

#[tokio::test]
async fn what_the_bus_does_not_take_stays_a_dead_letter() {
    let bus = bus(BusLimits::default());
    let mut consumer = join(&bus, W, 8).await;
    bus.send(job("W:*", 1)).await.unwrap();
    next(&mut consumer).await.dead_letter(failed()).await.unwrap();
    drop(consumer);
    let requeued = bus.dead_letters().requeue(&["J1".to_owned()]).await.unwrap();
    assert_eq!(requeued.refused.len(), 1, "no worker is there to take it: {requeued:?}");
    assert_eq!(bus.dead_letters().count().await, Some(1));
}

/// Between the send of a requeue and the end of its dead letter.
#[test]
fn a_job_that_dies_again_at_once_stays_a_dead_letter() {
    let dead = DeadLetterList::new(1, None);
    let letter = || DeadLetter { id: "J1".to_owned(), job: Some(job("W:*", 1)), raw: None, death: failed() };
    dead.keep(letter(), None).unwrap();
    let (first, _) = dead.get("J1").unwrap();
    dead.keep(letter(), None).unwrap();
    drop(dead.remove(first));
    assert_eq!((dead.count(), dead.list(9).len()), (1, 1));
    let (second, _) = dead.get("J1").unwrap();
    drop(dead.remove(second));
    assert_eq!((dead.count(), dead.get("J1")), (0, None));
}

/// A bus that all workers have left must not be closed while it holds a job that nothing shows any more.
#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_later_is_held_though_its_worker_is_gone() {
    let bus = bus(BusLimits::default());
    let mut consumer = join(&bus, W, 8).await;
    assert_eq!(bus.pending_jobs(), 0);
    bus.send(job(W, 1)).await.unwrap();
    assert_eq!(bus.pending_jobs(), 1);
    next(&mut consumer).await.retry(std::time::Duration::from_secs(60)).await.unwrap();
    drop(consumer);
    assert!(bus.depths().await.is_empty() && bus.pending_jobs() > 0, "it is due in a minute");
    tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    assert_eq!((bus.pending_jobs(), bus.dead_letters().count().await), (0, Some(1)));
}

#[tokio::test]
async fn a_dead_letter_of_another_bus_outlives_the_host_where_there_is_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(folder.path());
    let letter = DeadLetter { id: "J1".to_owned(), job: Some(job("W:*", 1)), raw: None, death: failed() };
    bus.dead_letters().keep(letter.clone()).await.unwrap();
    bus.close().await;
    assert!(matches!(bus.dead_letters().keep(letter.clone()).await, Err(BusError::Closed)));
    drop(bus);
    let again = open(folder.path());
    let kept = again.dead_letters().list(9).await.unwrap();
    assert_eq!((kept.len(), &kept[0].job, &kept[0].death.error), (1, &letter.job, &letter.death.error));
    assert_eq!(again.pending_jobs(), 0, "it is no job any more");
}
