#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mshost_bus::{Codec, ConsumerOptions, Death, DeathReason, Event, HostBus, Job, Notification, Payload, Route};
use mshost_core::ids::{JobId, WorkerId, WorkerRef, WorkerType};
use mshost_core::metrics::Metrics;
use mshost_topology::Topology;
use tokio_util::task::TaskTracker;

use super::bus_reconciler::BusReconciler;
use crate::supervisor::bus_session::sessions::BusSessions;

const OLD: &str = "absent = \"wait\"";
const NEW: &str = "absent = \"wait\"\nqueue_limit = 9";

/// A host without workers whose jobs of type `WB` wait on an embedded bus. Its clock is paused, so that waits take no time.
struct WaitingHost {
    metrics: Arc<Metrics>,
    sessions: Arc<BusSessions>,
    bus_reconciler: BusReconciler,
}

fn topology(bus: &str) -> Topology {
    mshost_topology::parse(Path::new("topology.toml"), &format!("[bus]\n{bus}\n"), &|_| None).unwrap()
}

fn worker(id: &str) -> WorkerRef {
    WorkerId::new(id).unwrap().into()
}

fn job(number: u32) -> Job {
    let id = JobId::new(&format!("J{number}")).unwrap();
    Job {
        correlation: id.clone(),
        id,
        route: Route::parse(["WB:*"]).unwrap(),
        sender: worker("WA:1460306476101"),
        origin: worker("WA:1460306476101"),
        attempt: 1,
        deadline: None,
        payload: Payload::encode(Codec::MsgPack, &number).unwrap(),
    }
}

impl WaitingHost {
    /// The first of `jobs` was delivered once already.
    async fn with_waiting(jobs: u32) -> Self {
        let metrics = Metrics::new().unwrap();
        let sessions = BusSessions::open(&topology(OLD), &metrics).unwrap();
        let bus_reconciler = BusReconciler::new(&topology(OLD), Arc::clone(&sessions), TaskTracker::new());
        let host = Self { metrics, sessions, bus_reconciler };
        let bus = host.bus();
        let mut consumer = bus.join(&worker("WB:1460306476102"), ConsumerOptions::new(1)).await.unwrap();
        for number in 0..jobs {
            bus.send(job(number)).await.unwrap();
        }
        drop(consumer.next().await.unwrap());
        drop(consumer);
        host
    }

    fn bus(&self) -> Arc<dyn HostBus> {
        Arc::clone(self.sessions.current().bus())
    }

    async fn until_left(&self) {
        let left = async {
            while !self.sessions.leaving().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(300), left).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_wait_for_a_worker_of_the_topology_and_say_that_they_may_have_been_done() {
    let mut host = WaitingHost::with_waiting(200).await;
    host.sessions.set_planned_types([WorkerType::new("WB").unwrap()].into());
    host.bus_reconciler.reconcile(&topology(NEW)).await.unwrap();
    // Its worker is slow to start.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((host.metrics.bus_carried.get(), host.bus().dead_letters().count().await), (0, Some(0)));
    assert_eq!(host.sessions.leaving().len(), 1, "it is not closed with jobs on it");
    let mut consumer = host.bus().join(&worker("WB:1460306476103"), ConsumerOptions::new(1)).await.unwrap();
    let mut came = Vec::new();
    while came.len() < 200 {
        let delivery = consumer.next().await.unwrap();
        came.push((delivery.job.payload.decode::<u32>().unwrap(), delivery.job.attempt));
        delivery.ack().await.unwrap();
    }
    came.sort_unstable();
    let expected: Vec<_> = (0..200).map(|number| (number, if number == 0 { 2 } else { 1 })).collect();
    assert_eq!(came, expected);
    host.until_left().await;
    assert_eq!((host.metrics.bus_carried.get(), host.bus().pending_jobs()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_no_worker_will_do_is_reported_and_becomes_a_dead_letter_of_the_new_bus() {
    let mut host = WaitingHost::with_waiting(1).await;
    host.bus_reconciler.reconcile(&topology(NEW)).await.unwrap();
    let bus = host.bus();
    let mut subscription = bus.subscribe().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bus.dead_letters().count().await, Some(0), "a worker may come yet");
    host.until_left().await;
    let letters = bus.dead_letters().list(9).await.unwrap();
    let [letter] = &*letters else { panic!("{letters:?}") };
    assert_eq!((&*letter.id, letter.death.reason), ("J0", DeathReason::NoWorker));
    let failure = loop {
        if let Some(Event::Notification(Notification::Error(failure))) = subscription.next().await {
            break failure;
        }
    };
    assert_eq!((&*failure.id, &*failure.target.id), ("J0", "WA:1460306476101"));
}

#[tokio::test(start_paused = true)]
async fn dead_letters_come_along_once_the_new_bus_has_room_for_all() {
    let mut host = WaitingHost::with_waiting(3).await;
    let old = host.bus();
    let mut consumer = old.join(&worker("WB:1460306476102"), ConsumerOptions::new(3)).await.unwrap();
    for _ in 0..3 {
        let death = Death::now(DeathReason::Failed, "no", None);
        consumer.next().await.unwrap().dead_letter(death).await.unwrap();
    }
    drop(consumer);
    host.bus_reconciler.reconcile(&topology(&format!("{OLD}\ndead_letter_limit = 2"))).await.unwrap();
    let new = host.bus();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((old.dead_letters().count().await, new.dead_letters().count().await), (Some(3), Some(2)));
    // An operator makes room.
    let first = new.dead_letters().list(1).await.unwrap().remove(0).id;
    new.dead_letters().purge().await.unwrap();
    host.until_left().await;
    let ids: Vec<_> = new.dead_letters().list(9).await.unwrap().into_iter().map(|letter| letter.id).collect();
    assert_eq!((ids.len(), old.dead_letters().count().await), (1, Some(0)), "{ids:?}");
    assert_ne!(ids, [first], "none comes twice");
}
