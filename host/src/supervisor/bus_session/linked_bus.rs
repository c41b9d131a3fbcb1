//! A session's bus, which can be linked to the buses of other sessions for a time.
//!
//! Workers do not change buses in one moment: each gets a successor on the new bus, which starts while it still serves on the
//! old one. Meanwhile a worker on either bus has to reach those on the other, or pipelines would break in the middle. So
//! workers send through a [`LinkedBus`]: while there is a link, a job that their own bus has no worker for goes to the others,
//! and failures that are reported on one bus are heard on all.
//!
//! # What it costs
//! While there is no link, [`Bus::send`] and [`Bus::try_send`] cost one atomic load (acquire) and one call through a vtable more
//! than on the engine itself: what they return is the engine's own future, neither wrapped nor boxed again, and the job is not
//! cloned. [`Bus::publish`] costs the call alone. A subscription waits for the failures of other buses beside its own events, which boxes
//! one more future for each event; a host has one, and one for each worker in a process of its own.
//!
//! While there is one, a job is cloned for each bus that may have a worker for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use mshost_bus::{
    Bus, BusError, BusState, Codec, Consumer, ConsumerOptions, DeadLetterStore, Event, Failure, HostBus, Job,
    Leadership, MsjsBridge, Notification, QueueDepth, SendError, Subscription,
};
use mshost_core::ids::{Address, WorkerRef};
use parking_lot::RwLock;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Failures from other buses that wait for one subscriber; of more, the oldest are lost, and that is logged.
const FAILURE_BUFFER: usize = 256;

/// How long linking waits for a subscription to the other bus. One that is away is subscribed to once it is back.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A bus with its links to others. All have the same codec.
pub(crate) struct LinkedBus {
    own: Arc<dyn HostBus>,
    links: RwLock<Vec<BusLink>>,
    /// Whether there are links: loaded for each job, so that the lock need not be taken.
    is_linked: AtomicBool,
    /// Failures that are reported on the other buses.
    linked_failures: broadcast::Sender<Failure>,
}

/// Whether a worker for a job is known to be on the other bus. A broker's durable queue takes jobs without any worker, too.
type Reaches = Box<dyn Fn(&Address) -> bool + Send + Sync>;

struct BusLink {
    bus: Arc<dyn HostBus>,
    reaches: Reaches,
    /// Sends that may be on their way there.
    sends: TaskTracker,
    takes_sends: bool,
    _failures: AbortOnDropHandle<()>,
}

impl LinkedBus {
    /// A bus without links.
    pub(crate) fn new(own: Arc<dyn HostBus>) -> Self {
        let (linked_failures, _) = broadcast::channel(FAILURE_BUFFER);
        Self { own, links: RwLock::default(), is_linked: AtomicBool::new(false), linked_failures }
    }

    /// Links this bus to `other`: from now on jobs that it has no worker for go there, where `reaches` knows one, and failures
    /// that are reported there are heard here. Called in a tokio runtime that lives as long.
    pub(crate) async fn link(
        &self,
        other: Arc<dyn HostBus>,
        reaches: impl Fn(&Address) -> bool + Send + Sync + 'static,
    ) {
        let (subscribed, subscribing) = oneshot::channel();
        let task = tokio::spawn(forward_failures(Arc::clone(&other), self.linked_failures.clone(), subscribed));
        let _ = tokio::time::timeout(SUBSCRIBE_TIMEOUT, subscribing).await;
        self.links.write().push(BusLink {
            bus: other,
            reaches: Box::new(reaches),
            sends: TaskTracker::new(),
            takes_sends: true,
            _failures: AbortOnDropHandle::new(task),
        });
        self.is_linked.store(true, Ordering::Release);
    }

    /// Stops sends to `other`; its failures are still heard. Returns once no job is on its way there.
    pub(crate) async fn stop_sends_to(&self, other: &Arc<dyn HostBus>) {
        let sends = {
            let mut links = self.links.write();
            let Some(link) = links.iter_mut().find(|link| Arc::ptr_eq(&link.bus, other)) else { return };
            link.takes_sends = false;
            link.sends.clone()
        };
        sends.close();
        sends.wait().await;
    }

    /// Removes the link to `other`.
    pub(crate) fn unlink(&self, other: &Arc<dyn HostBus>) {
        let mut links = self.links.write();
        links.retain(|link| !Arc::ptr_eq(&link.bus, other));
        self.is_linked.store(!links.is_empty(), Ordering::Release);
    }

    /// The bus itself, without its links.
    pub(crate) fn own(&self) -> &Arc<dyn HostBus> {
        &self.own
    }

    fn is_linked(&self) -> bool {
        self.is_linked.load(Ordering::Acquire)
    }

    /// Sends a job on this bus, or else on one that it is linked to.
    async fn send_linked(&self, job: Job) -> Result<(), SendError> {
        let others: Vec<_> = {
            let links = self.links.read();
            let open = links.iter().rev().filter(|link| link.takes_sends && (link.reaches)(job.route.target()));
            open.map(|link| (Arc::clone(&link.bus), link.sends.token())).collect()
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
}

async fn forward_failures(bus: Arc<dyn HostBus>, to: broadcast::Sender<Failure>, subscribed: oneshot::Sender<()>) {
    let mut subscription = match bus.subscribe().await {
        Ok(subscription) => subscription,
        Err(error) => return tracing::debug!(target: "mshost::bus", "the other bus is not heard: {error}"),
    };
    let _ = subscribed.send(());
    while let Some(event) = subscription.next().await {
        if let Event::Notification(Notification::Error(failure)) = event {
            // An error means that there is no subscriber.
            let _ = to.send(failure);
        }
    }
}

/// The events of a bus, and the failures that are reported on those that it is linked to.
struct LinkedSubscription {
    own: Box<dyn Subscription>,
    linked_failures: broadcast::Receiver<Failure>,
    /// The linked bus has been dropped.
    is_closed: bool,
}

#[async_trait]
impl Subscription for LinkedSubscription {
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                event = self.own.next() => return event,
                failure = self.linked_failures.recv(), if !self.is_closed => match failure {
                    Ok(failure) => return Some(Event::Notification(Notification::Error(failure))),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::error!(target: "mshost::bus", missed, "failures reported on another bus were lost: too many at a time");
                    }
                    Err(RecvError::Closed) => self.is_closed = true,
                },
            }
        }
    }
}

#[async_trait]
impl Bus for LinkedBus {
    fn codec(&self) -> Codec {
        self.own.codec()
    }

    // Written without `async`, so that the engine's future is returned as it is.
    fn send<'s, 'f>(&'s self, job: Job) -> BoxFuture<'f, Result<(), SendError>>
    where
        's: 'f,
        Self: 'f,
    {
        if self.is_linked() { Box::pin(self.send_linked(job)) } else { self.own.send(job) }
    }

    fn try_send(&self, job: Job) -> Result<Result<(), SendError>, Box<Job>> {
        if self.is_linked() { Err(Box::new(job)) } else { self.own.try_send(job) }
    }

    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError> {
        self.own.join(worker, options).await
    }

    fn publish<'s, 'f>(&'s self, notification: Notification) -> BoxFuture<'f, Result<(), BusError>>
    where
        's: 'f,
        Self: 'f,
    {
        self.own.publish(notification)
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError> {
        let linked_failures = self.linked_failures.subscribe();
        Ok(Box::new(LinkedSubscription { own: self.own.subscribe().await?, linked_failures, is_closed: false }))
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.own.state()
    }

    async fn close(&self) {
        self.own.close().await;
    }
}

#[async_trait]
impl HostBus for LinkedBus {
    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self.own.dead_letters()
    }

    fn leadership(&self) -> &dyn Leadership {
        self.own.leadership()
    }

    fn msjs(&self) -> Option<&dyn MsjsBridge> {
        self.own.msjs()
    }

    async fn depths(&self) -> Vec<QueueDepth> {
        self.own.depths().await
    }

    fn pending_jobs(&self) -> u64 {
        self.own.pending_jobs()
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

    fn bus() -> Arc<dyn HostBus> {
        Arc::new(EmbeddedBus::new(BusLimits::default(), Codec::MsgPack))
    }

    #[tokio::test]
    async fn a_job_without_a_worker_on_its_own_bus_goes_to_a_linked_one() {
        let (new, old) = (bus(), bus());
        let (here, there) = (worker("WA:1460306476101"), worker("WB:1460306476102"));
        let mut own = new.join(&here, ConsumerOptions::new(1)).await.unwrap();
        let mut other = old.join(&there, ConsumerOptions::new(1)).await.unwrap();
        let linked = LinkedBus::new(new);
        let to_b = || job("WB:1460306476102");
        assert!(matches!(linked.try_send(to_b()), Ok(Err(SendError::NoWorker(_)))), "nothing is linked yet");
        linked.link(Arc::clone(&old), |target| *target != Address::Any(WorkerType::new("WD").unwrap())).await;
        let to_b = *linked.try_send(to_b()).unwrap_err();
        linked.send(to_b).await.unwrap();
        assert_eq!(other.next().await.unwrap().job, job("WB:1460306476102"));
        linked.send(job("WA:*")).await.unwrap();
        assert_eq!(own.next().await.unwrap().job, job("WA:*"));
        let refused = linked.send(job("WC:*")).await.unwrap_err();
        assert!(matches!(refused, SendError::NoWorker(_)), "{refused}");
        let _third = old.join(&worker("WD:1460306476104"), ConsumerOptions::new(1)).await.unwrap();
        assert!(matches!(linked.send(job("WD:*")).await, Err(SendError::NoWorker(_))), "not known there");
        linked.stop_sends_to(&old).await;
        assert!(matches!(linked.send(job("WB:*")).await, Err(SendError::NoWorker(_))));
    }

    /// The size tells the engine's future from one around it.
    #[tokio::test]
    async fn without_links_a_send_is_the_future_of_the_engine() {
        let (own, other) = (bus(), bus());
        let linked = LinkedBus::new(Arc::clone(&own));
        let size_of_send = |bus: &dyn Bus| size_of_val(&*bus.send(job("WA:*")));
        assert_eq!(size_of_send(&linked), size_of_send(&*own));
        linked.link(Arc::clone(&other), |_| true).await;
        assert_ne!(size_of_send(&linked), size_of_send(&*own));
        linked.unlink(&other);
        assert_eq!(size_of_send(&linked), size_of_send(&*own));
    }

    /// What empties a bus must know when it gets no more.
    #[tokio::test]
    async fn sends_to_a_bus_have_stopped_once_no_job_is_on_its_way_there() {
        let limits = BusLimits { queue: 1, ..BusLimits::default() };
        let (new, old): (_, Arc<dyn HostBus>) = (bus(), Arc::new(EmbeddedBus::new(limits, Codec::MsgPack)));
        let mut slow = old.join(&worker("WB:1460306476102"), ConsumerOptions::new(1)).await.unwrap();
        let linked = LinkedBus::new(new);
        linked.link(Arc::clone(&old), |_| true).await;
        // One in hand, one in the queue, one that waits for room.
        for _ in 0..2 {
            linked.send(job("WB:*")).await.unwrap();
        }
        let first = slow.next().await.unwrap();
        let mut waiting = linked.send(job("WB:*"));
        assert!((&mut waiting).now_or_never().is_none());
        let mut stopped = Box::pin(linked.stop_sends_to(&old));
        assert!((&mut stopped).now_or_never().is_none(), "a job is on its way");
        first.ack().await.unwrap();
        waiting.await.unwrap();
        stopped.await;
        assert_eq!(old.pending_jobs(), 2);
    }

    #[tokio::test]
    async fn failures_on_a_linked_bus_are_heard_and_nothing_else_of_it() {
        let (new, old) = (bus(), bus());
        let linked = LinkedBus::new(Arc::clone(&new));
        let mut heard = linked.subscribe().await.unwrap();
        linked.link(Arc::clone(&old), |_| true).await;
        let id = JobId::new("J1").unwrap();
        let (target, correlation) = (worker("WA:1460306476101"), id.clone());
        let failure = Failure { target, error: "no".to_owned(), correlation, id, reporter: None, payload: None };
        old.publish(Notification::GetAll).await.unwrap();
        old.publish(Notification::Error(failure.clone())).await.unwrap();
        let expected = Event::Notification(Notification::Error(failure.clone()));
        assert_eq!(heard.next().await, Some(expected.clone()));
        linked.unlink(&old);
        old.publish(Notification::Error(failure)).await.unwrap();
        new.publish(Notification::GetAll).await.unwrap();
        assert_eq!(heard.next().await, Some(Event::Notification(Notification::GetAll)));
    }
}
