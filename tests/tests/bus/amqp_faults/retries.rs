//! A job that waits for its next attempt stays in the queue that keeps it until the queue of its workers has it.

use std::time::Duration;

use mshost_bus::{Absent, Bus, BusLimits};
use mshost_bus_amqp::AmqpOptions;
use mshost_tests::broker::Broker;

use super::support::{LIMIT, connected, connected_as, eventually, job, join, kind, limited, options, patient};

/// It is due and its workers' queue is full: nobody has confirmed it when its host goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_that_is_not_confirmed_yet_outlives_its_host() {
    let url = Broker::shared().url_of(&format!("retries-{}", kind()));
    let host = async || {
        let limits = BusLimits { queue: 1, ..patient() };
        connected_as(AmqpOptions { absent: Absent::Wait, ..options(&url, limits) }).await
    };
    let (first, kind) = (host().await, kind());
    let (_, mut consumer) = join(&first.bus, &kind, 1).await;
    let failing = job(&kind, 1);
    first.bus.send(failing.clone()).await.unwrap();
    let failed = limited("the job", consumer.next()).await.unwrap();
    first.bus.send(job(&kind, 2)).await.unwrap();
    failed.retry(Duration::from_secs(2)).await.unwrap();
    let in_hand = limited("the second job", consumer.next()).await.unwrap();
    let (refused, bus, third) = (first.metrics.bus_refused.get(), first.bus.clone(), job(&kind, 3));
    // There is room for one: this one or, where it was slower, the retry.
    let sending = tokio::spawn(async move { bus.send(third).await });
    eventually("a refusal", async || first.metrics.bus_refused.get() > refused).await;
    sending.abort();
    drop((in_hand, consumer));
    first.bus.close().await;

    let second = host().await;
    let (_, mut consumer) = join(&second.bus, &kind, 1).await;
    limited("the retry", async {
        loop {
            let delivery = consumer.next().await.unwrap();
            let job = delivery.job.clone();
            delivery.ack().await.unwrap();
            if (&job.id, job.attempt) == (&failing.id, 2) {
                return;
            }
        }
    })
    .await;
}

/// It holds its worker's only place while another fills the queue, which nobody but this worker empties.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_goes_back_to_a_full_queue_lets_its_worker_empty_it() {
    let limits = BusLimits { queue: 1, ..patient() };
    let url = Broker::shared().url_of(&format!("retries-{}", kind()));
    let (host, kind) = (connected(&url, BusLimits { send_timeout: 4 * LIMIT, ..limits }).await, kind());
    let (_, mut consumer) = join(&host.bus, &kind, 1).await;
    let (first, second) = (job(&kind, 1), job(&kind, 2));
    host.bus.send(first.clone()).await.unwrap();
    let failed = limited("the first job", consumer.next()).await.unwrap();
    host.bus.send(second.clone()).await.unwrap();
    // It is to be tried again at once.
    limited("giving it back", failed.retry(Duration::ZERO)).await.unwrap();
    let dropped = limited("the second job", consumer.next()).await.unwrap();
    assert_eq!(dropped.job.id, second.id);
    eventually("room for the first", async || host.metrics.bus_refused.get() > 0).await;
    // Comes again, and has to be counted.
    drop(dropped);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let delivery = limited("both", consumer.next()).await.unwrap();
        seen.push((delivery.job.id.clone(), delivery.redelivered));
        delivery.ack().await.unwrap();
    }
    seen.sort();
    let mut expected = [(first.id, false), (second.id, true)];
    expected.sort();
    assert_eq!(seen, expected);
}
