//! The dead letters of a host that is down, and nothing else in its journal.

use std::path::Path;

use mshost_bus::{BusError, Death, DeathReason};
use rusqlite::Connection;

use super::journal::{crash, open, options};
use super::*;
use crate::EmbeddedOptions;

fn open_dead_letters(options: EmbeddedOptions) -> Result<EmbeddedBus, String> {
    match EmbeddedBus::open_dead_letters(options) {
        Ok(bus) => Ok(bus),
        Err(error @ BusError::Refused { .. }) => Err(error.to_string()),
        Err(other) => panic!("{other:?}"),
    }
}

/// What is written of a job, but for its body.
#[derive(Debug, PartialEq)]
struct Row {
    record: i64,
    attempt: u32,
    deadline: Option<i64>,
    due: Option<i64>,
    deliveries: u32,
}

fn jobs(folder: &Path) -> Vec<Row> {
    let journal = Connection::open(folder.join("journal.sqlite")).unwrap();
    let query = "SELECT record, attempt, deadline, due, deliveries FROM jobs ORDER BY record";
    let mut rows = journal.prepare(query).unwrap();
    let rows = rows.query_map([], |row| {
        let (record, attempt, deadline, due) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Row { record, attempt, deadline, due, deliveries: row.get(4)? })
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

fn ids(letters: &[mshost_bus::DeadLetter]) -> Vec<&str> {
    letters.iter().map(|letter| &*letter.id).collect()
}

/// Jobs of every kind, and the dead letters J0 to J2.
async fn journal() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(folder.path());
    let mut consumer = join(&bus, W, 8).await;
    for number in 0..8 {
        bus.send(job("W:*", number)).await.unwrap();
    }
    for _ in 0..3 {
        let delivery = next(&mut consumer).await;
        delivery.dead_letter(Death::now(DeathReason::Failed, "no disk", None)).await.unwrap();
    }
    next(&mut consumer).await.requeue().await.unwrap();
    next(&mut consumer).await.retry(Duration::from_secs(3600)).await.unwrap();
    // One in hand, one that expires, one for a worker that will not come back, and one that cannot be read.
    let _held = next(&mut consumer).await;
    let soon = SystemTime::now() + Duration::from_millis(50);
    bus.send(Job { deadline: Some(soon), ..job("W:*", 8) }).await.unwrap();
    bus.send(job(W, 9)).await.unwrap();
    let crashed = crash(&bus).await;
    let file = Connection::open(crashed.path().join("journal.sqlite")).unwrap();
    let spoilt = file.execute("UPDATE jobs SET body = x'ff00' WHERE record = (SELECT max(record) FROM jobs)", []);
    assert_eq!(spoilt.unwrap(), 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    crashed
}

#[tokio::test]
async fn the_jobs_in_the_journal_of_a_host_that_is_down_stay_as_they_are() {
    let folder = journal().await;
    let before = jobs(folder.path());
    assert_eq!(before.len(), 7);
    let bus = open_dead_letters(options(folder.path())).unwrap();
    assert_eq!(ids(&bus.dead_letters().list(10).await.unwrap()), ["J0", "J1", "J2"]);
    assert_eq!(bus.dead_letters().count().await, Some(3));
    assert!(bus.depths().await.iter().all(|depth| depth.ready + depth.unsettled == 0));
    bus.close().await;
    assert_eq!(jobs(folder.path()), before);

    let bus = open_dead_letters(options(folder.path())).unwrap();
    let requeued = bus.dead_letters().requeue(&["J1".to_owned(), "J9".to_owned()]).await.unwrap();
    assert_eq!((requeued.sent, requeued.unknown), (vec!["J1".to_owned()], vec!["J9".to_owned()]));
    // It is written when this is said.
    let crashed = crash(&bus).await;
    drop(bus);
    for folder in [folder.path(), crashed.path()] {
        let after = jobs(folder);
        let (last, others) = after.split_last().unwrap();
        assert_eq!(others, before);
        assert_eq!(*last, Row { record: last.record, attempt: 1, deadline: None, due: None, deliveries: 0 });
    }

    let bus = open_dead_letters(options(folder.path())).unwrap();
    assert_eq!(ids(&bus.dead_letters().list(10).await.unwrap()), ["J0", "J2"]);
    assert_eq!(bus.dead_letters().purge().await.unwrap(), 2);
    drop(bus);
    assert_eq!(jobs(folder.path()).len(), 8);

    // The next start does what was sent again, and judges what was left to it.
    let bus = open(folder.path());
    let letters = bus.dead_letters().list(10).await.unwrap();
    assert_eq!(letters.iter().filter_map(|letter| letter.raw.as_deref()).collect::<Vec<_>>(), [b"\xff\x00"]);
    let mut consumer = join(&bus, "W:1460306476109", 8).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(next_number(&mut consumer).await);
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 3, 5, 6, 7]);
}

#[tokio::test]
async fn what_was_for_one_worker_cannot_wait_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(folder.path());
    let mut consumer = join(&bus, W, 1).await;
    bus.send(job(W, 0)).await.unwrap();
    next(&mut consumer).await.dead_letter(Death::now(DeathReason::Failed, "no disk", None)).await.unwrap();
    bus.close().await;
    let bus = open_dead_letters(options(folder.path())).unwrap();
    let requeued = bus.dead_letters().requeue(&["J0".to_owned()]).await.unwrap();
    assert_eq!((requeued.sent.len(), requeued.refused.len()), (0, 1), "{requeued:?}");
    assert_eq!(bus.dead_letters().count().await, Some(1));
}

#[tokio::test]
async fn where_there_is_no_journal_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let refused = open_dead_letters(options(&folder.path().join("state"))).unwrap_err();
    assert!(refused.contains("state/journal.sqlite: there is none"), "{refused}");
    assert!(!folder.path().join("state").exists());
    let file = folder.path().join("journal.sqlite");
    std::fs::write(&file, "").unwrap();
    let refused = open_dead_letters(options(folder.path())).unwrap_err();
    assert!(refused.contains("journal.sqlite: there is none"), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    let refused = open_dead_letters(EmbeddedOptions { journal: None, ..options(folder.path()) }).unwrap_err();
    assert!(refused.contains("`bus.journal`"), "{refused}");
}

#[tokio::test]
async fn a_journal_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(folder.path());
    let mut consumer = join(&bus, W, 1).await;
    let refused = open_dead_letters(options(folder.path())).unwrap_err();
    assert!(refused.contains("has it open; stop that host, or ask it with `--admin HOST:PORT`"), "{refused}");
    bus.send(job("W:*", 7)).await.unwrap();
    assert_eq!(next_number(&mut consumer).await, 7);
}
