//! Coming up, going away, coming back.

use std::time::{Duration, Instant};

use mshost_bus::{Bus, BusError, BusLimits, BusState, Durability, Event, Notification, SendError};
use mshost_bus_amqp::AmqpOptions;
use mshost_tests::broker::Broker;
use mshost_tests::tcp_proxy::Proxy;

use super::support::{
    connected, connected_as, eventually, host, job, join, kind, limited, options, patient, state, worker,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_may_be_opened_before_its_broker_is_up() {
    let proxy = Proxy::start(Broker::shared().addr()).await;
    proxy.refuse();
    let hasty = BusLimits { send_timeout: Duration::from_millis(200), ..BusLimits::default() };
    let host = host(options(&format!("amqp://guest:guest@{}", proxy.addr()), hasty));
    eventually("attempts", async || proxy.accepted() >= 3).await;
    let kind = kind();
    let start = Instant::now();
    match host.bus.send(job(&kind, 1)).await {
        Err(SendError::Unavailable(why)) => {
            assert!(why.contains(&proxy.addr().to_string()) && !why.contains("guest"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() < BusLimits::default().send_timeout, "a sender waits for `send_timeout`, not longer");
    let joining = join(&host.bus, &kind, 1);
    let heal = async {
        proxy.heal();
        state(&host.bus, |state| *state == BusState::Connected).await;
    };
    let ((_, mut consumer), ()) = tokio::join!(joining, heal);
    // A busy machine may need longer for one than this host gives it.
    eventually("a job is accepted", async || host.bus.send(job(&kind, 2)).await.is_ok()).await;
    limited("the job", consumer.next()).await.unwrap().ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_and_not_shown_and_tried_again() {
    let broker = Broker::start();
    broker.ctl(["add_user", "worker", "right"]);
    broker.ctl(["set_permissions", "worker", ".*", ".*", ".*"]);
    let host = host(options(&format!("amqp://worker:s3cret@{}", broker.addr()), patient()));
    let away = state(&host.bus, |state| matches!(state, BusState::Away { error } if error.contains("login"))).await;
    let text = format!("{away:?}");
    assert!(text.contains("worker") && !text.contains("s3cret"), "{text}");
    broker.ctl(["change_password", "worker", "s3cret"]);
    state(&host.bus, |state| *state == BusState::Connected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_hear_of_a_gap_and_go_on_hearing() {
    let proxy = Proxy::start(Broker::shared().addr()).await;
    let cut_off = connected(&format!("amqp://guest:guest@{}", proxy.addr()), patient()).await;
    let other = connected(&Broker::shared().url(), patient()).await;
    let mut subscription = cut_off.bus.subscribe().await.unwrap();
    proxy.refuse();
    state(&cut_off.bus, |state| matches!(state, BusState::Away { .. })).await;
    proxy.heal();
    let mut heard = Vec::new();
    while heard.last() != Some(&Event::Reconnected) {
        heard.push(limited("an event", subscription.next()).await.unwrap());
    }
    assert!(heard.ends_with(&[Event::Missed(0), Event::Reconnected]), "{heard:?}");
    let gone = Notification::Del(worker(&kind()));
    other.bus.publish(gone.clone()).await.unwrap();
    while limited("a notification", subscription.next()).await.unwrap() != Event::Notification(gone.clone()) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_cut_off_finds_the_jobs_for_its_id() {
    let proxy = Proxy::start(Broker::shared().addr()).await;
    let cut_off = connected(&format!("amqp://guest:guest@{}", proxy.addr()), patient()).await;
    let other = connected(&Broker::shared().url(), patient()).await;
    let (worker, mut consumer) = join(&cut_off.bus, &kind(), 1).await;
    proxy.refuse();
    state(&cut_off.bus, |state| matches!(state, BusState::Away { .. })).await;
    other.bus.send(job(&worker.id, 7)).await.unwrap();
    proxy.heal();
    let delivery = limited("the job", consumer.next()).await.unwrap();
    assert_eq!(delivery.job.payload.decode::<u32>().unwrap(), 7);
    delivery.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_delivered_before_a_cut_cannot_be_settled_and_comes_again() {
    let proxy = Proxy::start(Broker::shared().addr()).await;
    let cut_off = connected(&format!("amqp://guest:guest@{}", proxy.addr()), patient()).await;
    let kind = kind();
    let (_, mut consumer) = join(&cut_off.bus, &kind, 1).await;
    cut_off.bus.send(job(&kind, 7)).await.unwrap();
    let held = limited("the job", consumer.next()).await.unwrap();
    proxy.cut();
    eventually("the reconnect", async || cut_off.metrics.bus_reconnects.get() == 1).await;
    let settled = held.ack().await;
    assert!(matches!(settled, Err(BusError::Unavailable(_))), "{settled:?}");
    let again = limited("the job again", consumer.next()).await.unwrap();
    assert!(again.redelivered);
    again.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_the_broker_closes_is_opened_again() {
    let broker = Broker::start();
    // RabbitMQ closes the channel of a consumer that holds a job for too long.
    broker.ctl(["eval", "application:set_env(rabbit, channel_tick_interval, 200)."]);
    broker.ctl(["eval", "application:set_env(rabbit, consumer_timeout, 500)."]);
    let host = connected(&broker.url(), patient()).await;
    let kind = kind();
    // Room for another: a worker with its hands full does not ask for more.
    let (_, mut consumer) = join(&host.bus, &kind, 2).await;
    host.bus.send(job(&kind, 7)).await.unwrap();
    let held = limited("the job", consumer.next()).await.unwrap();
    let mut again = limited("the job again", consumer.next()).await.unwrap();
    assert!(again.redelivered && again.job.id == held.job.id);
    held.ack().await.unwrap_err();
    // On a busy machine that was held for too long as well.
    while again.ack().await.is_err() {
        again = limited("the job once more", consumer.next()).await.unwrap();
    }
    assert_eq!(host.metrics.bus_reconnects.get(), 0, "a broken channel is no reason to drop the connection");
}

/// The broker says of a quorum queue that is just being made that it is there, and closes the connection of whoever consumes
/// from it too early.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_a_new_type_that_join_at_once_keep_the_connection() {
    let url = Broker::shared().url_of("join-at-once");
    let options = AmqpOptions { durability: Durability::Replicated, ..options(&url, patient()) };
    let host = connected_as(options).await;
    for _ in 0..4 {
        let kind = kind();
        let joins = (0..8).map(|_| join(&host.bus, &kind, 1));
        let joined = futures::future::join_all(joins).await;
        assert_eq!((joined.len(), host.metrics.bus_reconnects.get()), (8, 0));
    }
}
