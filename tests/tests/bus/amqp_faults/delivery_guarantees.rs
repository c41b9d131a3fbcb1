//! An accepted job is done, or those who wait for it are told and it is kept as a dead letter.

use std::time::{Duration, SystemTime};

use mshost_bus::{
    Absent, Bus, BusLimits, Consumer, DeadLetter, DeathReason, Durability, Event, Failure, HostBus, Job, Notification,
    SendError, Subscription,
};
use mshost_core::ids::WorkerType;
use mshost_tests::broker::Broker;
use mshost_tests::tcp_proxy::Proxy;

use super::support::{ConnectedBus, connected, connected_as, eventually, job, join, kind, limited, options, patient};

/// A new virtual host of the shared broker, so that the dead letters are this test's alone.
fn own_url() -> String {
    Broker::shared().url_of(&format!("promises-{}", kind()))
}

async fn failure(subscription: &mut dyn Subscription) -> Failure {
    loop {
        let event = limited("a report", subscription.next()).await.unwrap();
        if let Event::Notification(Notification::Error(failure)) = event {
            return failure;
        }
    }
}

async fn only_letter(host: &ConnectedBus) -> DeadLetter {
    let mut letters = Vec::new();
    eventually("a dead letter", async || {
        // A quorum queue has back what was looked at a moment after the look.
        letters = host.bus.dead_letters().list(10).await.unwrap_or_default();
        letters.len() == 1
    })
    .await;
    letters.remove(0)
}

/// The job is reported to its sender, and is the only dead letter.
async fn assert_given_up(host: &ConnectedBus, subscription: &mut dyn Subscription, job: &Job, reason: DeathReason) {
    let failure = failure(subscription).await;
    assert_eq!((&failure.target, &failure.id), (&job.sender, &job.id), "{failure:?}");
    let letter = only_letter(host).await;
    assert_eq!((letter.death.reason, letter.id.as_str()), (reason, &*job.id));
    assert_eq!(letter.death.error, failure.error);
    let kept = letter.job.unwrap();
    assert_eq!((&kept.payload, &kept.route), (&job.payload, &job.route));
}

fn in_millis(millis: u64) -> Option<SystemTime> {
    Some(SystemTime::now() + Duration::from_millis(millis))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_beyond_its_deadline_is_given_up() {
    for durability in [Durability::Transient, Durability::Durable, Durability::Replicated] {
        let host = connected_as(mshost_bus_amqp::AmqpOptions { durability, ..options(&own_url(), patient()) }).await;
        let (kind, mut subscription) = (kind(), host.bus.subscribe().await.unwrap());
        let (_, mut consumer) = join(&host.bus, &kind, 1).await;
        host.bus.send(job(&kind, 1)).await.unwrap();
        let in_hand = limited("the first job", consumer.next()).await.unwrap();
        let late = Job { deadline: in_millis(300), ..job(&kind, 2) };
        host.bus.send(late.clone()).await.unwrap();
        assert_given_up(&host, &mut *subscription, &late, DeathReason::Expired).await;
        in_hand.ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_that_is_due_after_the_deadline_is_given_up() {
    let host = connected(&own_url(), patient()).await;
    let (kind, mut subscription) = (kind(), host.bus.subscribe().await.unwrap());
    let (_, mut consumer) = join(&host.bus, &kind, 1).await;
    let late = Job { deadline: in_millis(500), ..job(&kind, 1) };
    host.bus.send(late.clone()).await.unwrap();
    let first = limited("the job", consumer.next()).await.unwrap();
    first.retry(Duration::from_millis(700)).await.unwrap();
    assert_given_up(&host, &mut *subscription, &late, DeathReason::Expired).await;
}

/// Each taker takes the job and dies without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_never_settled_is_given_up() {
    for durability in [Durability::Durable, Durability::Replicated] {
        let limits = BusLimits { deliveries: 3, ..patient() };
        let host = connected_as(mshost_bus_amqp::AmqpOptions { durability, ..options(&own_url(), limits) }).await;
        let (kind, mut subscription) = (kind(), host.bus.subscribe().await.unwrap());
        // So that the queue is there all the time.
        let idle = join(&host.bus, &kind, 1).await.1;
        let deadly = job(&kind, 1);
        let mut idle = Some(idle);
        host.bus.send(deadly.clone()).await.unwrap();
        let mut delivered = 0;
        let letter = loop {
            let mut consumer = match idle.take() {
                Some(consumer) => consumer,
                None => join(&host.bus, &kind, 1).await.1,
            };
            tokio::select! {
                delivery = consumer.next() => {
                    let delivery = delivery.unwrap();
                    assert_eq!(delivery.redelivered, delivered > 0);
                    delivered += 1;
                    // The next is there before this one goes.
                    idle = Some(join(&host.bus, &kind, 1).await.1);
                    drop(consumer);
                    drop(delivery);
                }
                failure = failure(&mut *subscription) => break failure,
            }
        };
        // A delivery that is handed back while its consumer goes may have been counted twice by a quorum queue.
        let fewest = if durability == Durability::Replicated { 2 } else { 3 };
        assert!((fewest..=3).contains(&delivered), "{delivered} times, {durability:?}");
        assert_eq!(letter.id, deadly.id);
        assert_eq!(only_letter(&host).await.death.reason, DeathReason::Crashed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_sent_again_and_purged() {
    let host = connected(&own_url(), patient()).await;
    let kind = kind();
    let (_, mut consumer) = join(&host.bus, &kind, 8).await;
    for number in 0..3 {
        host.bus.send(Job { deadline: in_millis(60_000), ..job(&kind, number) }).await.unwrap();
        let delivery = limited("a job", consumer.next()).await.unwrap();
        let death = mshost_bus::Death::now(DeathReason::Failed, "as it should", None);
        delivery.dead_letter(death).await.unwrap();
    }
    let letters = host.bus.dead_letters().list(2).await.unwrap();
    assert_eq!(letters.len(), 2, "no more than were asked for");
    let letters = host.bus.dead_letters().list(10).await.unwrap();
    let numbers: Vec<u32> =
        letters.iter().map(|letter| letter.job.as_ref().unwrap().payload.decode().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2], "oldest first, also when they were looked at before");
    let requeued = host.bus.dead_letters().requeue(&[letters[1].id.clone(), "J0".to_owned()]).await.unwrap();
    assert_eq!((requeued.sent, requeued.unknown), (vec![letters[1].id.clone()], vec!["J0".to_owned()]));
    let again = limited("the job", consumer.next()).await.unwrap();
    assert_eq!((again.job.attempt, again.job.deadline, again.job.payload.decode::<u32>().unwrap()), (1, None, 1));
    again.ack().await.unwrap();
    // When this returns, its queues are gone.
    consumer.stop().await;
    let refused = host.bus.dead_letters().requeue(&[letters[0].id.clone()]).await.unwrap().refused;
    assert!(matches!(&refused[..], [(_, SendError::NoWorker(_))]), "{refused:?}");
    eventually("what was refused, and the other", async || host.bus.dead_letters().list(10).await.unwrap().len() == 2)
        .await;
    assert_eq!(host.bus.dead_letters().purge().await.unwrap(), 2);
    assert!(host.bus.dead_letters().list(10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_jobs_may_wait_they_wait_for_the_next_worker_of_their_type() {
    let url = own_url();
    let host = connected_as(mshost_bus_amqp::AmqpOptions { absent: Absent::Wait, ..options(&url, patient()) }).await;
    let kind = kind();
    let unheard_of = host.bus.send(job(&kind, 1)).await;
    assert!(matches!(unheard_of, Err(SendError::NoWorker(_))), "{unheard_of:?}");
    let (_, consumer) = join(&host.bus, &kind, 1).await;
    drop(consumer);
    host.bus.close().await;
    let host = connected_as(mshost_bus_amqp::AmqpOptions { absent: Absent::Wait, ..options(&url, patient()) }).await;
    host.bus.send(job(&kind, 2)).await.unwrap();
    let (_, mut consumer) = join(&host.bus, &kind, 1).await;
    limited("the job", consumer.next()).await.unwrap().ack().await.unwrap();
}

/// The host that a retry waits in dies; another passes it on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_outlives_the_host_that_waits_for_it() {
    let url = own_url();
    let (first, second) = (connected(&url, patient()).await, connected(&url, patient()).await);
    let kind = kind();
    let (_, mut consumer) = join(&first.bus, &kind, 1).await;
    let (_, mut other) = join(&second.bus, &kind, 1).await;
    first.bus.send(job(&kind, 1)).await.unwrap();
    let delivery = limited("the job", take_either(&mut *consumer, &mut *other)).await;
    delivery.retry(Duration::from_millis(1_500)).await.unwrap();
    drop(consumer);
    drop(first);
    let mut again = limited("the retry", other.next()).await.unwrap();
    if again.job.attempt == 1 {
        // The ack of the first attempt went down with the host.
        assert!(again.redelivered);
        again.ack().await.unwrap();
        again = limited("the retry", other.next()).await.unwrap();
    }
    assert_eq!(again.job.attempt, 2);
    again.ack().await.unwrap();
}

async fn take_either(one: &mut dyn Consumer, other: &mut dyn Consumer) -> mshost_bus::Delivery {
    tokio::select! {
        delivery = one.next() => delivery.unwrap(),
        delivery = other.next() => delivery.unwrap(),
    }
}

/// What waits for the id of a worker that is known to be dead does not wait until its queue expires.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_dead_worker_is_given_up() {
    let url = own_url();
    let proxy = Proxy::start(Broker::shared().addr()).await;
    let through = url.replace(&Broker::shared().addr().to_string(), &proxy.addr().to_string());
    let (dying, host) = (connected(&through, patient()).await, connected(&url, patient()).await);
    let mut subscription = host.bus.subscribe().await.unwrap();
    let (dead, consumer) = join(&dying.bus, &kind(), 1).await;
    let (held, waiting) = (job(&dead.id, 1), job(&dead.id, 2));
    host.bus.send(held.clone()).await.unwrap();
    host.bus.send(waiting.clone()).await.unwrap();
    // For the broker and the others it is dead from here on.
    proxy.refuse();
    eventually("the dead worker's queue without consumers", async || {
        host.bus.leadership().delete_queue_of(&dead).await.is_ok()
            && host.bus.dead_letters().list(10).await.unwrap().len() == 2
    })
    .await;
    let told = [failure(&mut *subscription).await.id, failure(&mut *subscription).await.id];
    assert!(told.contains(&held.id) && told.contains(&waiting.id), "{told:?}");
    let gone = host.bus.send(job(&dead.id, 3)).await;
    assert!(matches!(gone, Err(SendError::NoWorker(_))), "{gone:?}");
    drop((consumer, dying));
}

/// Those who empty a queue can still send while others wait for room in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_holds_up_nobody_else() {
    let limits = BusLimits { queue: 4, in_flight: 4, ..patient() };
    let host = connected(&own_url(), limits).await;
    let (full, free) = (kind(), kind());
    let (_, mut slow) = join(&host.bus, &full, 1).await;
    let (_, mut quick) = join(&host.bus, &free, 1).await;
    let sends: Vec<_> = (0..20).map(|number| tokio::spawn(send(&host, &full, number))).collect();
    eventually("senders that wait", async || host.metrics.bus_refused.get() > 0).await;
    limited("a send to another queue", send(&host, &free, 0)).await.unwrap();
    limited("its job", quick.next()).await.unwrap().ack().await.unwrap();
    for _ in 0..20 {
        limited("a job", slow.next()).await.unwrap().ack().await.unwrap();
    }
    for sent in sends {
        sent.await.unwrap().unwrap();
    }
}

fn send(host: &ConnectedBus, kind: &WorkerType, number: u32) -> impl Future<Output = Result<(), SendError>> + use<> {
    let (bus, job) = (std::sync::Arc::clone(&host.bus), job(kind, number));
    async move { bus.send(job).await }
}
