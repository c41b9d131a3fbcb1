#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mshost_bus::Notification;
use mshost_core::metrics::Metrics;
use mshost_topology::Topology;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::moves::Moves;
use super::side::Side;
use super::sides::Sides;

/// A host without workers, in a folder. Its clock is paused, so that waits take no time.
struct Place {
    folder: TempDir,
    metrics: Arc<Metrics>,
    sides: Arc<Sides>,
    moves: Moves,
    tasks: TaskTracker,
}

impl Place {
    fn new(bus: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new().unwrap();
        let sides = Sides::open(&topology(folder.path(), bus), &metrics).unwrap();
        let tasks = TaskTracker::new();
        let moves = Moves::new(Arc::clone(&sides), tasks.clone());
        Self { folder, metrics, sides, moves, tasks }
    }

    fn topology(&self, bus: &str) -> Topology {
        topology(self.folder.path(), bus)
    }

    async fn follow(&mut self, bus: &str) -> Result<(), String> {
        let topology = self.topology(bus);
        self.moves.follow(&topology).await
    }

    async fn is_refused(&mut self, bus: &str, why: &str) {
        let current = self.sides.current();
        let error = self.follow(bus).await.unwrap_err();
        assert!(error.contains(why) && error.contains("everything stays on embedded"), "{error}");
        assert!(Arc::ptr_eq(&current, &self.sides.current()), "nobody has moved");
    }

    async fn until_left(&self, count: usize) {
        until(&format!("{count} buses that are being left"), || self.sides.left().len() == count).await;
    }

    fn moved(&self, outcome: &str) -> u64 {
        self.metrics.bus_moves.with_label_values(&[outcome]).get()
    }

    /// The folders of the journals that are noted as being left.
    fn noted(&self) -> Vec<PathBuf> {
        self.sides.unfinished.all().unwrap().iter().map(|journal| journal.folder().to_owned()).collect()
    }
}

fn topology(folder: &Path, bus: &str) -> Topology {
    let text = format!("[bus]\n{bus}\n");
    mshost_topology::parse(&folder.join("topology.toml"), &text, &|_| None).unwrap()
}

/// Patient by the real clock: a journal is closed by a thread of its own, for which the paused one does not wait.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_four_buses_are_left_at_a_time_and_the_next_move_follows_once_there_is_room() {
    let mut place = Place::new("queue_limit = 1");
    // On each of them stays a worker that cannot go.
    let mut staying = vec![place.sides.current().berth()];
    for bus in 2..=5 {
        place.follow(&format!("queue_limit = {bus}")).await.unwrap();
        staying.push(place.sides.current().berth());
    }
    assert_eq!(place.sides.left().len(), 4);
    let next = "queue_limit = 6";
    place.is_refused(next, "4 buses are being left already").await;
    // It is tried on.
    place.moves.opened().await;
    place.is_refused(next, "4 buses are being left already").await;
    drop(staying.remove(0));
    place.until_left(3).await;
    place.moves.opened().await;
    place.follow(next).await.unwrap();
    assert_eq!(place.sides.current().config, place.topology(next).bus);
    assert_eq!((place.moved("moved"), place.moved("failed")), (5, 2));
    drop(staying);
    place.until_left(0).await;
    place.tasks.close();
    place.tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_cannot_be_opened_is_tried_again_until_it_can_or_is_not_wanted_any_more() {
    let mut place = Place::new("");
    let blocked = place.folder.path().join("blocked");
    fs::write(&blocked, "no folder").unwrap();
    let next = "journal = \"blocked/journal\"";
    place.is_refused(next, "the new bus cannot be used").await;
    let began = Instant::now();
    place.moves.opened().await;
    assert!(began.elapsed() > Duration::from_secs(1), "not all the time");
    place.is_refused(next, "the new bus cannot be used").await;
    // Taken back: there is nothing to wait for.
    place.follow("").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(600), place.moves.opened()).await.is_err());
    place.is_refused(next, "the new bus cannot be used").await;
    fs::remove_file(&blocked).unwrap();
    place.moves.opened().await;
    place.follow(next).await.unwrap();
    assert!(place.folder.path().join("blocked/journal").is_dir());
    assert!(tokio::time::timeout(Duration::from_secs(600), place.moves.opened()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_is_not_connected_yet_is_kept_until_it_is_or_another_is_wanted() {
    let mut place = Place::new("");
    // Nobody listens there.
    let away = "url = \"amqp://127.0.0.1:1\"";
    place.is_refused(away, "cannot be used yet").await;
    let began = Instant::now();
    place.is_refused(away, "cannot be used yet").await;
    assert_eq!(began.elapsed(), Duration::ZERO, "a reload waits for it once");
    let connected = tokio::time::timeout(Duration::from_secs(60), place.moves.opened()).await;
    assert!(connected.is_err(), "it is not connected");
    place.follow("queue_limit = 2").await.unwrap();
    place.until_left(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_being_left_is_noted_before_anybody_moves() {
    let mut place = Place::new("journal = \"a\"");
    let a = place.folder.path().join("a");
    // `host.state` cannot be made.
    fs::write(place.folder.path().join("state"), "no folder").unwrap();
    place.is_refused("", "that its journal is being left cannot be written").await;
    fs::remove_file(place.folder.path().join("state")).unwrap();
    place.moves.opened().await;
    let staying = place.sides.current().berth();
    place.follow("").await.unwrap();
    assert_eq!(place.noted(), [a]);
    // It is in use.
    place.is_refused("journal = \"a\"\nqueue_limit = 1", "is still being left").await;
    drop(staying);
    place.until_left(0).await;
    until("the end of the note", || place.noted().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn workers_move_back_to_a_bus_that_not_all_have_left() {
    let mut place = Place::new("journal = \"a\"");
    let first = place.sides.current();
    let (staying, mut leaving) = (first.berth(), first.berth());
    place.follow("journal = \"b\"").await.unwrap();
    leaving.release_slot();
    let leave = first.leave().unwrap();
    place.follow("journal = \"a\"").await.unwrap();
    assert!(Arc::ptr_eq(&first, &place.sides.current()));
    assert!(leave.is_cancelled() && first.leave().is_none(), "who has a successor there leaves all the same");
    drop((staying, leaving));
    place.until_left(0).await;
    until("the end of the note", || place.noted().is_empty()).await;
    place.tasks.close();
    place.tasks.wait().await;
    assert!(Arc::ptr_eq(&first, &place.sides.current()), "it is lived on");
    first.bus().publish(Notification::GetAll).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nobody_moves_back_to_a_bus_that_all_have_left() {
    let mut place = Place::new("queue_limit = 1");
    let first = place.sides.current();
    // It has a successor, and is slow to leave.
    let mut leaving = first.berth();
    leaving.release_slot();
    place.follow("queue_limit = 2").await.unwrap();
    let leave = first.leave().unwrap();
    until("the call to leave", || leave.is_cancelled()).await;
    place.follow("queue_limit = 1").await.unwrap();
    assert!(!Arc::ptr_eq(&first, &place.sides.current()), "it is another like the first");
    let is_first = |side: &Arc<Side>| Arc::ptr_eq(side, &first);
    assert!(place.sides.left().iter().any(is_first), "not everybody has left");
    drop(leaving);
    until("its end", || !place.sides.left().iter().any(is_first)).await;
}
