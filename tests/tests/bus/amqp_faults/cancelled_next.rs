//! `Consumer::next` that is dropped at any of its await points: what was delivered to the worker and not returned goes to others.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use mshost_bus::{Bus, BusState, Consumer, Delivery};
use mshost_core::ids::WorkerType;
use mshost_tests::broker::Broker;
use mshost_tests::tcp_proxy::Proxy;

use super::support::{ConnectedBus, connected, eventually, job, join, kind, limited, patient, state};

/// How many jobs wait for the worker; it may have as many in hand.
const JOBS: u32 = 6;
/// `next` is polled up to so many times before it is dropped.
const POLLS: usize = 6;
/// How long a poll waits for the one before to be worth another.
const WAKE: Duration = Duration::from_millis(30);

/// Polls `next` so many times, unless it has returned before or has nothing more to do, and drops it.
async fn dropped_after(polls: usize, consumer: &mut dyn Consumer) -> Option<Delivery> {
    if polls == 0 {
        drop(consumer.next());
        return None;
    }
    let mut next = pin!(consumer.next());
    let mut polled = 0;
    let poll = poll_fn(|cx| {
        polled += 1;
        match next.as_mut().poll(cx) {
            Poll::Ready(delivery) => Poll::Ready(delivery),
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    tokio::time::timeout(WAKE, poll).await.unwrap_or_default()
}

async fn send_all(host: &ConnectedBus, kind: &WorkerType) {
    for number in 0..JOBS {
        host.bus.send(job(kind, number)).await.unwrap();
    }
}

/// The other worker gets and does every job that is missing, and says of each whether it is flagged.
async fn takes_the_rest(other: &mut dyn Consumer, mut done: BTreeSet<u32>) -> Vec<bool> {
    let mut flags = Vec::new();
    while done.len() < JOBS as usize {
        let what = format!("one of the jobs that are not among {done:?}");
        let delivery = tokio::time::timeout(Duration::from_secs(20), other.next()).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("{what} stays unacked")).unwrap();
        done.insert(delivery.job.payload.decode().unwrap());
        flags.push(delivery.redelivered);
        delivery.ack().await.unwrap();
    }
    flags
}

/// The worker is told to consume from its type's queue and, while it is about to, to stop that again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_dropped_after_a_pause_keeps_no_jobs() {
    let (one, two) =
        (connected(&Broker::shared().url(), patient()).await, connected(&Broker::shared().url(), patient()).await);
    let kind = kind();
    let (_, mut first) = join(&one.bus, &kind, JOBS as u16).await;
    let (_, mut second) = join(&two.bus, &kind, JOBS as u16).await;
    // How far resuming is when the pause comes.
    for delay in (0..10).map(|step| Duration::from_micros(800) * step) {
        for polls in 0..=POLLS {
            first.pause().await;
            second.pause().await;
            send_all(&one, &kind).await;
            first.resume().await;
            tokio::time::sleep(delay).await;
            first.pause().await;
            let returned = dropped_after(polls, &mut *first).await;
            assert!(returned.is_none(), "it is paused: {returned:?}");
            second.resume().await;
            let flags = takes_the_rest(&mut *second, BTreeSet::new()).await;
            assert_eq!(flags, [false; JOBS as usize], "none was started, after {delay:?} and {polls} polls");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_dropped_after_leaving_the_type_keeps_no_jobs() {
    let (one, two) =
        (connected(&Broker::shared().url(), patient()).await, connected(&Broker::shared().url(), patient()).await);
    let kind = kind();
    let (_, mut second) = join(&two.bus, &kind, JOBS as u16).await;
    for polls in 0..=POLLS {
        for is_resuming in [false, true] {
            let (_, mut first) = join(&one.bus, &kind, JOBS as u16).await;
            second.pause().await;
            if is_resuming {
                first.pause().await;
            }
            send_all(&one, &kind).await;
            if is_resuming {
                first.resume().await;
                tokio::time::sleep(Duration::from_millis(polls as u64)).await;
            }
            first.leave_type().await;
            let returned = dropped_after(polls, &mut *first).await;
            assert!(returned.is_none(), "it has left: {returned:?}");
            second.resume().await;
            let flags = takes_the_rest(&mut *second, BTreeSet::new()).await;
            assert_eq!(flags, [false; JOBS as usize], "none was started, after {polls} polls");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_dropped_after_a_reconnect_keeps_no_jobs() {
    let proxy = Proxy::start(Broker::shared().addr()).await;
    let one = connected(&format!("amqp://guest:guest@{}", proxy.addr()), patient()).await;
    let two = connected(&Broker::shared().url(), patient()).await;
    let kind = kind();
    let (_, mut first) = join(&one.bus, &kind, JOBS as u16).await;
    let (_, mut second) = join(&two.bus, &kind, JOBS as u16).await;
    for polls in 0..=POLLS {
        second.pause().await;
        send_all(&two, &kind).await;
        let reconnects = one.metrics.bus_reconnects.get();
        proxy.cut();
        let mut done = BTreeSet::new();
        eventually("the reconnect", async || {
            // Dropped and called again all the time, before the reconnect, during it and after.
            if let Some(delivery) = dropped_after(polls, &mut *first).await {
                let number = delivery.job.payload.decode().unwrap();
                if delivery.ack().await.is_ok() && one.metrics.bus_reconnects.get() > reconnects {
                    done.insert(number);
                }
            }
            one.metrics.bus_reconnects.get() > reconnects
        })
        .await;
        state(&one.bus, |state| *state == BusState::Connected).await;
        if let Some(delivery) = dropped_after(polls, &mut *first).await {
            done.insert(delivery.job.payload.decode().unwrap());
            delivery.ack().await.unwrap();
        }
        first.pause().await;
        assert!(dropped_after(polls, &mut *first).await.is_none());
        limited("resuming", second.resume()).await;
        takes_the_rest(&mut *second, done).await;
        first.resume().await;
    }
}
