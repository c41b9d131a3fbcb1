//! A bus while its workers move to another.
//!
//! Workers do not change buses in one moment: each has a successor on the new bus, which starts while it still serves on the
//! old one. Meanwhile whoever is on one of them must reach those who are on the other, or pipelines would break in the
//! middle. So every worker is on a [`Transit`]: a job that its own bus has nobody for goes to the others, and failures that are
//! reported on one bus are heard on all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mshost_bus::{
    Bus, BusError, BusState, Codec, Consumer, ConsumerOptions, DeadLetter, Event, Failure, Foreign, Job, Notification,
    QueueDepth, Requeued, SendError, Subscription,
};
use mshost_core::ids::{Address, WorkerRef};
use parking_lot::RwLock;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Failures from other buses that wait for one subscriber; of more, the oldest are lost, and that is logged.
const FAILURES: usize = 256;

/// How long linking waits until the other bus is heard. One that is away is heard once it is back.
const HEARING: Duration = Duration::from_secs(2);

/// One bus, and those that it is linked to for a time. All have the same codec.
pub struct Transit {
    own: Arc<dyn Bus>,
    links: RwLock<Vec<Link>>,
    /// Whether there are any: looked at for each job, and mostly there are none.
    linked: AtomicBool,
    /// Failures that are reported on the others.
    elsewhere: broadcast::Sender<Failure>,
}

/// Whether somebody is known to be there. A broker's durable queue takes jobs for nobody, too.
type Reaches = Box<dyn Fn(&Address) -> bool + Send + Sync>;

struct Link {
    bus: Arc<dyn Bus>,
    reaches: Reaches,
    /// Jobs that may go there.
    crossing: TaskTracker,
    is_cut: bool,
    _hearing: AbortOnDropHandle<()>,
}

impl Transit {
    /// This bus alone.
    #[must_use]
    pub fn new(own: Arc<dyn Bus>) -> Self {
        let (elsewhere, _) = broadcast::channel(FAILURES);
        Self { own, links: RwLock::default(), linked: AtomicBool::new(false), elsewhere }
    }

    /// From now on, jobs that this bus has nobody for go to `other`, where it `reaches` somebody, and what fails there is heard
    /// here. Called in a tokio runtime that lives as long.
    pub async fn link(&self, other: Arc<dyn Bus>, reaches: impl Fn(&Address) -> bool + Send + Sync + 'static) {
        let (heard, hearing) = oneshot::channel();
        let task = tokio::spawn(hear(Arc::clone(&other), self.elsewhere.clone(), heard));
        let _ = tokio::time::timeout(HEARING, hearing).await;
        let hearing = AbortOnDropHandle::new(task);
        self.links.write().push(Link {
            bus: other,
            reaches: Box::new(reaches),
            crossing: TaskTracker::new(),
            is_cut: false,
            _hearing: hearing,
        });
        self.linked.store(true, Ordering::Release);
    }

    /// No more jobs go to `other`, which is heard on. Returns once none is on its way there.
    pub async fn cut(&self, other: &Arc<dyn Bus>) {
        let crossing = {
            let mut links = self.links.write();
            let Some(link) = links.iter_mut().find(|link| Arc::ptr_eq(&link.bus, other)) else { return };
            link.is_cut = true;
            link.crossing.clone()
        };
        crossing.close();
        crossing.wait().await;
    }

    /// The end of it all.
    pub fn unlink(&self, other: &Arc<dyn Bus>) {
        let mut links = self.links.write();
        links.retain(|link| !Arc::ptr_eq(&link.bus, other));
        self.linked.store(!links.is_empty(), Ordering::Release);
    }

    /// Whether there are other buses now.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.linked.load(Ordering::Acquire)
    }

    /// The bus itself.
    #[must_use]
    pub fn own(&self) -> &Arc<dyn Bus> {
        &self.own
    }
}

async fn hear(bus: Arc<dyn Bus>, elsewhere: broadcast::Sender<Failure>, heard: oneshot::Sender<()>) {
    let mut subscription = match bus.subscribe().await {
        Ok(subscription) => subscription,
        Err(error) => return tracing::debug!(target: "mshost::bus", "the other bus is not heard: {error}"),
    };
    let _ = heard.send(());
    while let Some(event) = subscription.next().await {
        if let Event::Notification(Notification::Error(failure)) = event {
            // An error means that nobody listens.
            let _ = elsewhere.send(failure);
        }
    }
}

/// Hears a bus, and what fails on the others.
struct BothEars {
    own: Box<dyn Subscription>,
    elsewhere: broadcast::Receiver<Failure>,
    /// The transit is gone.
    alone: bool,
}

#[async_trait]
impl Subscription for BothEars {
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                event = self.own.next() => return event,
                failure = self.elsewhere.recv(), if !self.alone => match failure {
                    Ok(failure) => return Some(Event::Notification(Notification::Error(failure))),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::error!(target: "mshost::bus", missed, "failures reported on another bus were lost: too many at a time");
                    }
                    Err(RecvError::Closed) => self.alone = true,
                },
            }
        }
    }
}

#[async_trait]
impl Bus for Transit {
    fn codec(&self) -> Codec {
        self.own.codec()
    }

    async fn send(&self, job: Job) -> Result<(), SendError> {
        if !self.is_linked() {
            return self.own.send(job).await;
        }
        let others: Vec<_> = {
            let links = self.links.read();
            let open = links.iter().rev().filter(|link| !link.is_cut && (link.reaches)(job.route.target()));
            open.map(|link| (Arc::clone(&link.bus), link.crossing.token())).collect()
        };
        let mut sent = self.own.send(job.clone()).await;
        for (other, _) in &others {
            if !matches!(sent, Err(SendError::NoWorker(_))) {
                break;
            }
            sent = other.send(job.clone()).await;
        }
        match sent {
            // A successor joins here before the one there leaves, which may have happened in between.
            Err(SendError::NoWorker(_)) => self.own.send(job).await,
            sent => sent,
        }
    }

    fn try_send(&self, job: Job) -> Result<Result<(), SendError>, Box<Job>> {
        if self.is_linked() { Err(Box::new(job)) } else { self.own.try_send(job) }
    }

    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError> {
        self.own.join(worker, options).await
    }

    async fn publish(&self, notification: Notification) -> Result<(), BusError> {
        self.own.publish(notification).await
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError> {
        let elsewhere = self.elsewhere.subscribe();
        Ok(Box::new(BothEars { own: self.own.subscribe().await?, elsewhere, alone: false }))
    }

    async fn foreign(&self) -> Result<Option<Box<dyn Foreign>>, BusError> {
        self.own.foreign().await
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.own.state()
    }

    fn compete(&self) {
        self.own.compete();
    }

    fn leads(&self) -> watch::Receiver<bool> {
        self.own.leads()
    }

    async fn reap(&self, worker: &WorkerRef) -> Result<(), BusError> {
        self.own.reap(worker).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        self.own.dead_letters(limit).await
    }

    async fn dead_count(&self) -> Option<u64> {
        self.own.dead_count().await
    }

    async fn keep_dead(&self, letter: DeadLetter) -> Result<(), BusError> {
        self.own.keep_dead(letter).await
    }

    async fn requeue_dead(&self, ids: &[String]) -> Result<Requeued, BusError> {
        self.own.requeue_dead(ids).await
    }

    async fn purge_dead(&self) -> Result<u64, BusError> {
        self.own.purge_dead().await
    }

    async fn depths(&self) -> Vec<QueueDepth> {
        self.own.depths().await
    }

    fn holds(&self) -> u64 {
        self.own.holds()
    }

    async fn close(&self) {
        self.own.close().await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt;
    use mshost_bus::{BusLimits, Route};
    use mshost_bus_embedded::EmbeddedBus;
    use mshost_core::ids::{JobId, WorkerId, WorkerType};
    use mshost_plugin_api::Payload;

    use super::*;

    fn worker(id: &str) -> WorkerRef {
        WorkerId::new(id).unwrap().into()
    }

    fn job(target: &str) -> Job {
        let id = JobId::new("J1").unwrap();
        Job {
            correlation: id.clone(),
            id,
            route: Route::parse([target]).unwrap(),
            sender: worker("S:1460306476103"),
            origin: worker("S:1460306476103"),
            attempt: 1,
            deadline: None,
            payload: Payload::encode(Codec::MsgPack, &serde_json::json!({"title": "Stalker"})).unwrap(),
        }
    }

    fn bus() -> Arc<dyn Bus> {
        Arc::new(EmbeddedBus::new(BusLimits::default(), Codec::MsgPack))
    }

    #[tokio::test]
    async fn whom_the_own_bus_does_not_have_the_others_may_have() {
        let (new, old) = (bus(), bus());
        let (here, there) = (worker("WA:1460306476101"), worker("WB:1460306476102"));
        let mut own = new.join(&here, ConsumerOptions::new(1)).await.unwrap();
        let mut other = old.join(&there, ConsumerOptions::new(1)).await.unwrap();
        let transit = Transit::new(new);
        let to_b = || job("WB:1460306476102");
        assert!(matches!(transit.try_send(to_b()), Ok(Err(SendError::NoWorker(_)))), "nothing is linked yet");
        transit.link(Arc::clone(&old), |target| *target != Address::Any(WorkerType::new("WD").unwrap())).await;
        let to_b = *transit.try_send(to_b()).unwrap_err();
        transit.send(to_b).await.unwrap();
        assert_eq!(other.next().await.unwrap().job, job("WB:1460306476102"));
        transit.send(job("WA:*")).await.unwrap();
        assert_eq!(own.next().await.unwrap().job, job("WA:*"));
        let nobody = transit.send(job("WC:*")).await.unwrap_err();
        assert!(matches!(nobody, SendError::NoWorker(_)), "{nobody}");
        let _third = old.join(&worker("WD:1460306476104"), ConsumerOptions::new(1)).await.unwrap();
        assert!(matches!(transit.send(job("WD:*")).await, Err(SendError::NoWorker(_))), "not known there");
        transit.cut(&old).await;
        assert!(matches!(transit.send(job("WB:*")).await, Err(SendError::NoWorker(_))));
    }

    /// Whoever empties a bus must know when it gets no more.
    #[tokio::test]
    async fn a_bus_is_cut_off_once_nothing_is_on_its_way_there() {
        let limits = BusLimits { queue: 1, ..BusLimits::default() };
        let (new, old): (_, Arc<dyn Bus>) = (bus(), Arc::new(EmbeddedBus::new(limits, Codec::MsgPack)));
        let mut slow = old.join(&worker("WB:1460306476102"), ConsumerOptions::new(1)).await.unwrap();
        let transit = Transit::new(new);
        transit.link(Arc::clone(&old), |_| true).await;
        // One in hand, one in the queue, one that waits for room.
        for _ in 0..2 {
            transit.send(job("WB:*")).await.unwrap();
        }
        let first = slow.next().await.unwrap();
        let mut waiting = transit.send(job("WB:*"));
        assert!((&mut waiting).now_or_never().is_none());
        let mut cut = Box::pin(transit.cut(&old));
        assert!((&mut cut).now_or_never().is_none(), "a job is on its way");
        first.ack().await.unwrap();
        waiting.await.unwrap();
        cut.await;
        assert_eq!(old.holds(), 2);
    }

    #[tokio::test]
    async fn what_fails_on_another_bus_is_heard_and_nothing_else_of_it() {
        let (new, old) = (bus(), bus());
        let transit = Transit::new(Arc::clone(&new));
        let mut heard = transit.subscribe().await.unwrap();
        transit.link(Arc::clone(&old), |_| true).await;
        let id = JobId::new("J1").unwrap();
        let (target, correlation) = (worker("WA:1460306476101"), id.clone());
        let failure = Failure { target, error: "no".to_owned(), correlation, id, reporter: None, payload: None };
        old.publish(Notification::GetAll).await.unwrap();
        old.publish(Notification::Error(failure.clone())).await.unwrap();
        let expected = Event::Notification(Notification::Error(failure.clone()));
        assert_eq!(heard.next().await, Some(expected.clone()));
        transit.unlink(&old);
        old.publish(Notification::Error(failure)).await.unwrap();
        new.publish(Notification::GetAll).await.unwrap();
        assert_eq!(heard.next().await, Some(Event::Notification(Notification::GetAll)));
    }
}
