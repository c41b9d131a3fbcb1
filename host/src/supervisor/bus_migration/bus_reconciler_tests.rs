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

use super::bus_reconciler::BusReconciler;
use crate::supervisor::bus_session::session::BusSession;
use crate::supervisor::bus_session::sessions::BusSessions;

/// A host without workers, in a folder. Its clock is paused, so that waits take no time.
struct MigratingHost {
    folder: TempDir,
    metrics: Arc<Metrics>,
    sessions: Arc<BusSessions>,
    bus_reconciler: BusReconciler,
    tasks: TaskTracker,
}

impl MigratingHost {
    fn new(bus: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (topology, metrics) = (topology(folder.path(), bus), Metrics::new().unwrap());
        let sessions = BusSessions::open(&topology, &metrics).unwrap();
        let tasks = TaskTracker::new();
        let bus_reconciler = BusReconciler::new(&topology, Arc::clone(&sessions), tasks.clone());
        Self { folder, metrics, sessions, bus_reconciler, tasks }
    }

    fn topology(&self, bus: &str) -> Topology {
        topology(self.folder.path(), bus)
    }

    async fn change_bus(&mut self, bus: &str) -> Result<(), String> {
        let topology = self.topology(bus);
        self.bus_reconciler.reconcile(&topology).await
    }

    async fn is_refused(&mut self, bus: &str, why: &str) {
        let current = self.sessions.current();
        let error = self.change_bus(bus).await.unwrap_err();
        assert!(error.contains(why) && error.contains("everything stays on embedded"), "{error}");
        assert!(Arc::ptr_eq(&current, &self.sessions.current()), "everything has stayed");
    }

    async fn until_left(&self, count: usize) {
        until(&format!("{count} buses that are being left"), || self.sessions.leaving().len() == count).await;
    }

    fn moved(&self, outcome: &str) -> u64 {
        self.metrics.bus_moves.with_label_values(&[outcome]).get()
    }

    /// The folders of the journals that are noted as being left.
    fn noted(&self) -> Vec<PathBuf> {
        self.bus_reconciler.noted_journals().unwrap()
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
    let mut host = MigratingHost::new("queue_limit = 1");
    // On each of them stays a worker that cannot go.
    let mut staying = vec![host.sessions.current().add_member()];
    for bus in 2..=5 {
        host.change_bus(&format!("queue_limit = {bus}")).await.unwrap();
        staying.push(host.sessions.current().add_member());
    }
    assert_eq!(host.sessions.leaving().len(), 4);
    let next = "queue_limit = 6";
    host.is_refused(next, "4 buses are being left already").await;
    // It is tried on.
    host.bus_reconciler.until_worth_a_try().await;
    host.is_refused(next, "4 buses are being left already").await;
    drop(staying.remove(0));
    host.until_left(3).await;
    host.bus_reconciler.until_worth_a_try().await;
    host.change_bus(next).await.unwrap();
    assert_eq!(host.sessions.current().config, host.topology(next).bus);
    assert_eq!((host.moved("moved"), host.moved("failed")), (5, 2));
    drop(staying);
    host.until_left(0).await;
    host.tasks.close();
    host.tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_cannot_be_opened_is_tried_again_until_it_can_or_is_not_wanted_any_more() {
    let mut host = MigratingHost::new("");
    let blocked = host.folder.path().join("blocked");
    fs::write(&blocked, "no folder").unwrap();
    let next = "journal = \"blocked/journal\"";
    host.is_refused(next, "the new bus cannot be used").await;
    let began = Instant::now();
    host.bus_reconciler.until_worth_a_try().await;
    assert!(began.elapsed() > Duration::from_secs(1), "not all the time");
    host.is_refused(next, "the new bus cannot be used").await;
    // Taken back: there is nothing to wait for.
    host.change_bus("").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(600), host.bus_reconciler.until_worth_a_try()).await.is_err());
    host.is_refused(next, "the new bus cannot be used").await;
    fs::remove_file(&blocked).unwrap();
    host.bus_reconciler.until_worth_a_try().await;
    host.change_bus(next).await.unwrap();
    assert!(host.folder.path().join("blocked/journal").is_dir());
    assert!(tokio::time::timeout(Duration::from_secs(600), host.bus_reconciler.until_worth_a_try()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_is_not_connected_yet_is_kept_until_it_is_or_another_is_wanted() {
    let mut host = MigratingHost::new("");
    // Nothing listens there.
    let away = "url = \"amqp://127.0.0.1:1\"";
    host.is_refused(away, "cannot be used yet").await;
    let began = Instant::now();
    host.is_refused(away, "cannot be used yet").await;
    assert_eq!(began.elapsed(), Duration::ZERO, "a reload waits for it once");
    let connected = tokio::time::timeout(Duration::from_secs(60), host.bus_reconciler.until_worth_a_try()).await;
    assert!(connected.is_err(), "it is not connected");
    host.change_bus("queue_limit = 2").await.unwrap();
    host.until_left(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_being_left_is_noted_before_any_worker_moves() {
    let mut host = MigratingHost::new("journal = \"a\"");
    let a = host.folder.path().join("a");
    // `host.state` cannot be made.
    fs::write(host.folder.path().join("state"), "no folder").unwrap();
    host.is_refused("", "that its journal is being left cannot be written").await;
    fs::remove_file(host.folder.path().join("state")).unwrap();
    host.bus_reconciler.until_worth_a_try().await;
    let staying = host.sessions.current().add_member();
    host.change_bus("").await.unwrap();
    assert_eq!(host.noted(), [a]);
    // It is in use.
    host.is_refused("journal = \"a\"\nqueue_limit = 1", "is still being left").await;
    drop(staying);
    host.until_left(0).await;
    until("the end of the note", || host.noted().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn workers_move_back_to_a_bus_that_not_all_have_left() {
    let mut host = MigratingHost::new("journal = \"a\"");
    let first = host.sessions.current();
    let (staying, mut leaving) = (first.add_member(), first.add_member());
    host.change_bus("journal = \"b\"").await.unwrap();
    leaving.release_slot();
    let leave = first.leave_signal().unwrap();
    host.change_bus("journal = \"a\"").await.unwrap();
    assert!(Arc::ptr_eq(&first, &host.sessions.current()));
    assert!(leave.is_cancelled() && first.leave_signal().is_none(), "a worker with a successor leaves all the same");
    drop((staying, leaving));
    host.until_left(0).await;
    until("the end of the note", || host.noted().is_empty()).await;
    host.tasks.close();
    host.tasks.wait().await;
    assert!(Arc::ptr_eq(&first, &host.sessions.current()), "it is the current one");
    first.bus().publish(Notification::GetAll).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_worker_moves_back_to_a_bus_that_all_have_left() {
    let mut host = MigratingHost::new("queue_limit = 1");
    let first = host.sessions.current();
    // It has a successor, and is slow to leave.
    let mut leaving = first.add_member();
    leaving.release_slot();
    host.change_bus("queue_limit = 2").await.unwrap();
    let leave = first.leave_signal().unwrap();
    until("the call to leave", || leave.is_cancelled()).await;
    host.change_bus("queue_limit = 1").await.unwrap();
    assert!(!Arc::ptr_eq(&first, &host.sessions.current()), "it is another like the first");
    let is_first = |session: &Arc<BusSession>| Arc::ptr_eq(session, &first);
    assert!(host.sessions.leaving().iter().any(is_first), "not every worker has left");
    drop(leaving);
    until("its end", || !host.sessions.leaving().iter().any(is_first)).await;
}
