//! What outlives the host. A crash is a copy of the journal's files in the middle of everything, opened by another bus.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mshost_bus::{Absent, BusError, Death, DeathReason, SendError};
use mshost_core::metrics::Metrics;
use tempfile::TempDir;

use super::*;
use crate::journal::{JournalChange, RecordId};
use crate::{EmbeddedOptions, JournalConfig, JournalSync};

/// Another worker of the type: ids are never used again.
const LATER: &str = "W:1460306476109";

pub(super) fn options(folder: &Path) -> EmbeddedOptions {
    EmbeddedOptions {
        codec: Codec::Json,
        limits: BusLimits::default(),
        absent: Absent::Fail,
        journal: Some(JournalConfig { folder: folder.to_owned(), sync: JournalSync::Never, limit: 1 << 30 }),
        metrics: Some(Metrics::new().unwrap()),
    }
}

pub(super) fn open(folder: &Path) -> EmbeddedBus {
    EmbeddedBus::open(options(folder)).unwrap()
}

/// A copy of the journal as it is when all changes so far are written, as a killed host leaves it behind.
pub(super) async fn crash(bus: &EmbeddedBus) -> TempDir {
    let journal = bus.core.journal.as_ref().unwrap();
    journal.commit(JournalChange::RemoveDeadLetter(RecordId::NONE)).await;
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(journal.folder()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

fn refusal(options: EmbeddedOptions) -> String {
    match EmbeddedBus::open(options) {
        Err(error @ BusError::Refused { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn jobs_for_a_type_wait_for_its_next_worker() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(folder.path());
    let mut consumer = join(&bus, W, 2).await;
    for number in 0..5 {
        bus.send(job("W:*", number)).await.unwrap();
    }
    let _held = next(&mut consumer).await;
    next(&mut consumer).await.ack().await.unwrap();
    let crashed = crash(&bus).await;
    let bus = open(crashed.path());
    assert_eq!(bus.send(job("W:*", 9)).await, Err(SendError::NoWorker(job("W:*", 9).route.target().clone())));
    let mut consumer = join(&bus, LATER, 1).await;
    for expected in [0, 2, 3, 4] {
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.redelivered, &delivery.job), (true, &job("W:*", expected)));
        delivery.ack().await.unwrap();
    }
    let crashed = crash(&bus).await;
    assert_eq!(open(crashed.path()).depths().await, []);
}

#[tokio::test]
async fn retries_keep_their_attempt_and_when_they_are_due() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(folder.path());
    let mut consumer = join(&bus, W, 2).await;
    bus.send(job("W:*", 0)).await.unwrap();
    bus.send(job("W:*", 1)).await.unwrap();
    let [late, soon] = [next(&mut consumer).await, next(&mut consumer).await];
    late.retry(Duration::from_secs(3600)).await.unwrap();
    soon.retry(Duration::from_millis(1)).await.unwrap();
    let crashed = crash(&bus).await;
    let bus = open(crashed.path());
    let mut consumer = join(&bus, LATER, 2).await;
    let delivery = next(&mut consumer).await;
    assert_eq!((number(&delivery.job), delivery.job.attempt), (1, 2));
    let depths = bus.depths().await;
    assert_eq!((depths[0].ready, depths[0].unsettled), (1, 1), "the other waits for its time: {depths:?}");
}

#[tokio::test]
async fn jobs_for_workers_that_are_gone_become_dead_letters_that_last() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(folder.path());
    let mut consumer = join(&bus, W, 1).await;
    bus.send(job("W:*", 0)).await.unwrap();
    bus.send(job(W, 1)).await.unwrap();
    let delivery = next(&mut consumer).await;
    delivery.dead_letter(Death::now(DeathReason::Failed, "no disk", Some(worker(W)))).await.unwrap();
    let mut crashed = crash(&bus).await;
    for _ in 0..2 {
        let bus = open(crashed.path());
        let letters = bus.dead_letters().list(10).await.unwrap();
        let seen: Vec<_> = letters.iter().map(|letter| (&*letter.id, letter.death.reason)).collect();
        assert_eq!(seen, [("J0", DeathReason::Failed), ("J1", DeathReason::NoWorker)]);
        assert_eq!(letters[0].job, Some(job("W:*", 0)));
        assert_eq!((&*letters[0].death.error, &letters[0].death.worker), ("no disk", &Some(worker(W))));
        crashed = crash(&bus).await;
    }
    let bus = open(crashed.path());
    let _consumer = join(&bus, LATER, 0x100).await;
    let requeued = bus.dead_letters().requeue(&["J0".to_owned(), "J1".to_owned()]).await.unwrap();
    assert_eq!((requeued.sent, requeued.refused.len()), (vec!["J0".to_owned()], 1));
    let crashed = crash(&bus).await;
    let bus = open(crashed.path());
    assert_eq!(bus.dead_letters().list(10).await.unwrap().len(), 1);
    assert_eq!(bus.dead_letters().purge().await.unwrap(), 1);
    let crashed = crash(&bus).await;
    assert_eq!(open(crashed.path()).dead_letters().list(10).await.unwrap(), []);
}

#[tokio::test]
async fn what_the_dead_letters_of_a_killed_host_have_no_room_for_stays_until_they_have() {
    let with_room_for_one = |folder: &Path| {
        let limits = BusLimits { dead_letters: 1, ..BusLimits::default() };
        EmbeddedBus::open(EmbeddedOptions { limits, ..options(folder) }).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let bus = with_room_for_one(folder.path());
    let _consumer = join(&bus, W, 1).await;
    for number in 0..2 {
        bus.send(job(W, number)).await.unwrap();
    }
    let mut crashed = crash(&bus).await;
    for expected in ["J0", "J1"] {
        let bus = with_room_for_one(crashed.path());
        let letters = bus.dead_letters().list(10).await.unwrap();
        assert_eq!(letters.iter().map(|letter| &*letter.id).collect::<Vec<_>>(), [expected]);
        assert_eq!(bus.dead_letters().purge().await.unwrap(), 1);
        crashed = crash(&bus).await;
    }
    assert_eq!(with_room_for_one(crashed.path()).dead_letters().list(10).await.unwrap(), []);
}

#[tokio::test]
async fn a_job_that_kills_its_host_again_and_again_is_dead_lettered() {
    let folder = tempfile::tempdir().unwrap();
    let with = |folder: &Path| {
        let limits = BusLimits { deliveries: 3, ..BusLimits::default() };
        EmbeddedBus::open(EmbeddedOptions { limits, ..options(folder) }).unwrap()
    };
    let mut bus = with(folder.path());
    let first = join(&bus, W, 1).await;
    bus.send(job("W:*", 0)).await.unwrap();
    drop(first);
    let mut crashes = Vec::new();
    // The first time is not counted; it would cost every job a write.
    for _ in 0..=3 {
        let mut consumer = join(&bus, LATER, 1).await;
        let held = next(&mut consumer).await;
        crashes.push(crash(&bus).await);
        bus = with(crashes.last().unwrap().path());
        drop(held);
    }
    let letters = bus.dead_letters().list(10).await.unwrap();
    assert_eq!(letters[0].death.reason, DeathReason::Crashed);
    assert!(letters[0].death.error.contains("delivered 3 times (`bus.delivery_limit`)"), "{}", letters[0].death.error);
}

#[tokio::test]
async fn what_a_closed_bus_had_accepted_waits_and_what_it_refused_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let bus = EmbeddedBus::open(EmbeddedOptions {
        limits: BusLimits { queue: 1, ..BusLimits::default() },
        ..options(folder.path())
    })
    .unwrap();
    let bus = Arc::new(bus);
    let mut consumer = join(&bus, W, 1).await;
    for number in 0..2 {
        bus.send(job("W:*", number)).await.unwrap();
    }
    let held = next(&mut consumer).await;
    let given_up = tokio::time::timeout(Duration::from_millis(20), bus.send(job("W:*", 2))).await;
    given_up.unwrap_err();
    let refused = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move { bus.send(job("W:*", 3)).await }
    });
    limited(async {
        while bus.core.journal.as_ref().unwrap().written_jobs() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bus.close().await;
    limited(refused).await.unwrap().unwrap_err();
    drop(held);
    let bus = open(folder.path());
    let mut consumer = join(&bus, LATER, 9).await;
    assert_eq!([next_number(&mut consumer).await, next_number(&mut consumer).await], [0, 1]);
    assert_eq!(bus.depths().await.iter().map(|depth| depth.ready + depth.unsettled).sum::<u64>(), 0);
}

#[tokio::test]
async fn a_full_journal_refuses_new_jobs_and_keeps_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 1 << 20;
    let journal = JournalConfig { folder: folder.path().to_owned(), sync: JournalSync::Never, limit };
    let options = EmbeddedOptions { journal: Some(journal), ..options(folder.path()) };
    let metrics = options.metrics.clone().unwrap();
    let bus = EmbeddedBus::open(options).unwrap();
    let mut consumer = join(&bus, W, 1).await;
    let large = |number: u32| Job {
        payload: Payload::encode(Codec::Json, &format!("{number:060000}")).unwrap(),
        ..job("W:*", number)
    };
    let mut accepted = 0;
    let error = loop {
        match bus.send(large(accepted)).await {
            Ok(()) => accepted += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(accepted > 8 && error.contains("journal.sqlite") && error.contains("bus.journal_limit"), "{error}");
    assert_eq!(metrics.journal_errors.get(), 1);
    // What is done makes room.
    next(&mut consumer).await.ack().await.unwrap();
    bus.send(large(accepted)).await.unwrap();
    let crashed = crash(&bus).await;
    let bus = open(crashed.path());
    let mut consumer = join(&bus, LATER, 1).await;
    for expected in 1..=accepted {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.job, large(expected));
        delivery.ack().await.unwrap();
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_used_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(folder.path());
    let locked = refusal(options(folder.path()));
    assert!(locked.contains("another process has it open; stop that host"), "{locked}");
    assert!(locked.contains(&folder.path().display().to_string()), "{locked}");
    bus.close().await;
    let other = refusal(EmbeddedOptions { codec: Codec::Bson, ..options(folder.path()) });
    assert!(other.contains("written in JSON, but the bus speaks BSON; set `bus.codec` back"), "{other}");
    let file = folder.path().join("journal.sqlite");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let newer = refusal(options(folder.path()));
    assert!(newer.contains("a newer mshost wrote it (version 99"), "{newer}");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "application_id", 7).unwrap();
    let foreign = refusal(options(folder.path()));
    assert!(foreign.contains("another program"), "{foreign}");
    std::fs::write(&file, "not a database, but long enough to look like one at first sight".repeat(100)).unwrap();
    let garbage = refusal(options(folder.path()));
    assert!(garbage.contains("move the file away"), "{garbage}");
    let in_file = refusal(options(&file));
    assert!(in_file.contains("folder cannot be made"), "{in_file}");
}
