//! Nothing that was accepted is lost, whatever breaks under load; what comes twice says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use mshost_bus::{Bus, BusState, Durability, SendError};
use mshost_bus_amqp::AmqpOptions;
use mshost_core::ids::WorkerType;
use mshost_tests::broker::Broker;
use mshost_tests::tcp_proxy::Proxy;
use parking_lot::Mutex;

use super::support::{ConnectedBus, connected, connected_as, eventually, join, kind, limited, options, patient, state};

/// How many jobs are accepted before things break, and again after.
const BEFORE_AND_AFTER: usize = 200;
const SENDERS: u32 = 8;

#[derive(Default)]
struct Seen {
    accepted: Mutex<BTreeSet<u32>>,
    refused: Mutex<Vec<SendError>>,
    /// Of each delivery of a job, whether it says that it may not be the first.
    delivered: Mutex<BTreeMap<u32, Vec<bool>>>,
}

impl Seen {
    fn accepted(&self) -> usize {
        self.accepted.lock().len()
    }

    /// Accepted and not delivered.
    fn missing(&self) -> Vec<u32> {
        let delivered = self.delivered.lock();
        self.accepted.lock().iter().filter(|number| !delivered.contains_key(number)).copied().collect()
    }
}

/// Senders and workers at work while `fault` does its worst.
async fn under_load(
    sender: &ConnectedBus,
    taker: &ConnectedBus,
    kind: &WorkerType,
    fault: impl AsyncFnOnce(),
) -> Arc<Seen> {
    let _turn = mshost_tests::heavy::turn();
    let (seen, stop, next) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let (_, mut consumer) = join(&taker.bus, kind, 8).await;
        let seen = Arc::clone(&seen);
        tasks.push(tokio::spawn(async move {
            while let Some(delivery) = consumer.next().await {
                let number = delivery.job.payload.decode().unwrap();
                let flagged = delivery.redelivered || delivery.job.attempt > 1;
                seen.delivered.lock().entry(number).or_default().push(flagged);
                // Where this fails the job comes again.
                let _ = delivery.ack().await;
            }
        }));
    }
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        let (bus, kind, seen, stop, next) =
            (Arc::clone(&sender.bus), kind.clone(), Arc::clone(&seen), Arc::clone(&stop), Arc::clone(&next));
        senders.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                match bus.send(super::support::job(&kind, number)).await {
                    Ok(()) => drop(seen.accepted.lock().insert(number)),
                    Err(error) => seen.refused.lock().push(error),
                }
            }
        }));
    }
    eventually("work before the fault", async || seen.accepted() >= BEFORE_AND_AFTER).await;
    fault().await;
    let enough = seen.accepted() + BEFORE_AND_AFTER;
    eventually("work after the fault", async || seen.accepted() >= enough).await;
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        limited("a sender", sender).await.unwrap();
    }
    // Whoever waits for a job that does not come waits in vain: tell which.
    let wait = async {
        while !seen.missing().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(30), wait).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    seen
}

/// Every accepted job was delivered, and whatever was delivered again says that it may have been before.
fn assert_at_least_once(seen: &Seen) {
    assert!(seen.refused.lock().is_empty(), "nobody gave up: {:?}", seen.refused.lock());
    assert_eq!(seen.missing(), [] as [u32; 0], "accepted and lost");
    for (number, flags) in &*seen.delivered.lock() {
        assert!(flags[1..].iter().all(|flagged| *flagged), "job {number} came again without saying so: {flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_and_restarted_loses_nothing() {
    killed_and_restarted(Durability::Durable).await;
}

/// The only node of its quorum queues comes back by itself, and their consumers are served again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_quorum_queues_killed_and_restarted_loses_nothing() {
    killed_and_restarted(Durability::Replicated).await;
}

async fn killed_and_restarted(durability: Durability) {
    let mut broker = Broker::start();
    let host = async || connected_as(AmqpOptions { durability, ..options(&broker.url(), patient()) }).await;
    let (sender, taker) = (host().await, host().await);
    let seen = under_load(&sender, &taker, &kind(), async || {
        broker.kill();
        let away = state(&sender.bus, |state| matches!(state, BusState::Away { .. })).await;
        assert!(!format!("{away:?}").contains("guest:"), "{away:?}");
        broker.restart();
        state(&sender.bus, |state| *state == BusState::Connected).await;
    })
    .await;
    assert_at_least_once(&seen);
    assert!(sender.metrics.bus_reconnects.get() >= 1 && sender.metrics.bus_connected.get() == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_nothing() {
    let (to_sender, to_taker) =
        (Proxy::start(Broker::shared().addr()).await, Proxy::start(Broker::shared().addr()).await);
    let url = |proxy: &Proxy| format!("amqp://guest:guest@{}", proxy.addr());
    let (sender, taker) = (connected(&url(&to_sender), patient()).await, connected(&url(&to_taker), patient()).await);
    let seen = under_load(&sender, &taker, &kind(), async || {
        for round in 1..=5 {
            for (proxy, host) in [(&to_sender, &sender), (&to_taker, &taker)] {
                proxy.cut();
                eventually("the reconnect", async || host.metrics.bus_reconnects.get() >= round).await;
            }
        }
    })
    .await;
    assert_at_least_once(&seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_stalls_for_longer_than_the_heartbeat_loses_nothing() {
    let proxy = Proxy::start(Broker::shared().addr()).await;
    let url = format!("amqp://guest:guest@{}?heartbeat=1", proxy.addr());
    let (sender, taker) = (connected(&url, patient()).await, connected(&url, patient()).await);
    let seen = under_load(&sender, &taker, &kind(), async || {
        for break_it in [Proxy::stall, Proxy::one_way] {
            break_it(&proxy);
            state(&sender.bus, |state| matches!(state, BusState::Away { .. })).await;
            state(&taker.bus, |state| matches!(state, BusState::Away { .. })).await;
            proxy.heal();
            state(&sender.bus, |state| *state == BusState::Connected).await;
            state(&taker.bus, |state| *state == BusState::Connected).await;
        }
    })
    .await;
    assert_at_least_once(&seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_low_on_memory_makes_senders_wait() {
    let broker = Broker::start();
    let (sender, taker) = (connected(&broker.url(), patient()).await, connected(&broker.url(), patient()).await);
    let hasty = mshost_bus::BusLimits { send_timeout: Duration::from_secs(1), ..patient() };
    let hasty = connected(&broker.url(), hasty).await;
    let kind = kind();
    let seen = under_load(&sender, &taker, &kind, async || {
        broker.set_memory_alarm(true);
        eventually("a sender that gives up", async || {
            match hasty.bus.send(super::support::job(&kind, u32::MAX)).await {
                Err(SendError::Unavailable(why)) => why.contains("low on memory"),
                _ => false,
            }
        })
        .await;
        broker.set_memory_alarm(false);
    })
    .await;
    assert_at_least_once(&seen);
    assert_eq!(sender.metrics.bus_reconnects.get(), 0, "a blocked connection is no reason to drop it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_the_operator_deletes_is_made_again() {
    let (url, kind) = (Broker::shared().url(), kind());
    let (sender, taker) = (connected(&url, patient()).await, connected(&url, patient()).await);
    let seen = under_load(&sender, &taker, &kind, async || {
        for _ in 0..3 {
            let made = Broker::shared().ctl(["delete_queue", &format!("mshost.job.{kind}")]);
            assert!(!made.contains("error"), "{made}");
        }
    })
    .await;
    // Jobs that waited in the queue went with it, and until it was back nobody was there. What came is in order.
    assert!(seen.refused.lock().iter().all(|error| matches!(error, SendError::NoWorker(_))));
    for (number, flags) in &*seen.delivered.lock() {
        assert!(flags[1..].iter().all(|flagged| *flagged), "job {number} came again without saying so: {flags:?}");
    }
    let last = *seen.accepted.lock().last().unwrap();
    assert!(seen.delivered.lock().contains_key(&last), "jobs are taken again");
    let reconnects = sender.metrics.bus_reconnects.get() + taker.metrics.bus_reconnects.get();
    assert_eq!(reconnects, 0, "a cancelled consumer is no reason to drop the connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_the_operator_deletes_is_made_again() {
    let broker = Broker::start();
    let host = connected(&broker.url(), patient()).await;
    let kind = kind();
    let (_, mut consumer) = join(&host.bus, &kind, 1).await;
    broker.ctl([
        "eval",
        "rabbit_exchange:delete({resource, <<\"/\">>, exchange, <<\"mshost.jobs\">>}, false, <<\"operator\">>).",
    ]);
    eventually("a send that is accepted", async || host.bus.send(super::support::job(&kind, 1)).await.is_ok()).await;
    limited("the job", consumer.next()).await.unwrap().ack().await.unwrap();
}
