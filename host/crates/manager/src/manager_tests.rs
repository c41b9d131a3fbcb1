#![allow(clippy::unwrap_used, clippy::expect_used)]

use async_trait::async_trait;
use mshost_bus::{
    Bus, BusLimits, Codec, Consumer, ConsumerOptions, DeadLetterStore, Job, Leadership, QueueDepth, SendError,
};
use mshost_bus_embedded::EmbeddedBus;
use mshost_core::ids::{Address, JobId, WorkerId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;

const KEEPALIVE: Duration = Duration::from_secs(10);
const EXPIRE_AFTER: Duration = Duration::from_secs(25);

/// The embedded bus behind a wire that can be cut: while it is, nothing is sent and whatever is said goes unheard. It
/// says which host leads, and notes whose queues are deleted.
struct Wire {
    bus: EmbeddedBus,
    state: watch::Sender<BusState>,
    leads: watch::Sender<bool>,
    cleaned_up: Mutex<Vec<WorkerRef>>,
}

struct WireEnd {
    inner: Box<dyn Subscription>,
    state: watch::Receiver<BusState>,
    was_away: bool,
}

#[async_trait]
impl Bus for Wire {
    fn codec(&self) -> Codec {
        self.bus.codec()
    }
    async fn send(&self, job: Job) -> Result<(), SendError> {
        self.bus.send(job).await
    }
    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError> {
        self.bus.join(worker, options).await
    }
    async fn publish(&self, notification: Notification) -> Result<(), BusError> {
        if *self.state.borrow() != BusState::Connected {
            return Err(BusError::Unavailable("the wire is cut".to_owned()));
        }
        self.bus.publish(notification).await
    }
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError> {
        let inner = self.bus.subscribe().await?;
        Ok(Box::new(WireEnd { inner, state: self.state.subscribe(), was_away: false }))
    }
    fn state(&self) -> watch::Receiver<BusState> {
        self.state.subscribe()
    }
    async fn close(&self) {
        self.bus.close().await;
    }
}

#[async_trait]
impl HostBus for Wire {
    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self.bus.dead_letters()
    }
    fn leadership(&self) -> &dyn Leadership {
        self
    }
    async fn depths(&self) -> Vec<QueueDepth> {
        self.bus.depths().await
    }
}

#[async_trait]
impl Leadership for Wire {
    fn compete(&self) {}
    fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }
    async fn delete_queue_of(&self, worker: &WorkerRef) -> Result<(), BusError> {
        self.cleaned_up.lock().push(worker.clone());
        self.bus.leadership().delete_queue_of(worker).await
    }
}

#[async_trait]
impl Subscription for WireEnd {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let connected = *self.state.borrow_and_update() == BusState::Connected;
            if connected && std::mem::take(&mut self.was_away) {
                return Some(Event::Reconnected);
            }
            self.was_away |= !connected;
            tokio::select! {
                _ = self.state.changed() => {}
                event = self.inner.next() => if connected { return event },
            }
        }
    }
}

struct Setup {
    wire: Arc<Wire>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), BusError>>,
}

async fn start_with(limits: BusLimits, config: ManagerOptions, leads: bool) -> Setup {
    let bus = EmbeddedBus::new(limits, Codec::default());
    let (state, leads) = (watch::Sender::new(BusState::Connected), watch::Sender::new(leads));
    let wire = Arc::new(Wire { bus, state, leads, cleaned_up: Mutex::default() });
    let metrics = Metrics::new().unwrap();
    let (manager, registry) = Manager::new(config, wire.clone(), Arc::clone(&metrics));
    let stop = CancellationToken::new();
    let task = tokio::spawn(manager.run(stop.clone()));
    let setup = Setup { wire, registry, metrics, stop, task };
    setup.until(|setup| setup.asked() == 1).await;
    setup
}

fn config() -> ManagerOptions {
    ManagerOptions { keepalive: Some(KEEPALIVE), expire_after: EXPIRE_AFTER, max_workers: 100 }
}

async fn start() -> Setup {
    start_with(BusLimits::default(), config(), true).await
}

/// One that stands by, and has asked once, at the start, because no other manager did.
async fn stand_by() -> Setup {
    start_with(BusLimits::default(), config(), false).await
}

impl Setup {
    /// Waits for a condition, under paused time in no time.
    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3_600), wait).await.expect("it becomes true in the end");
    }

    /// How often the manager has asked who is there.
    fn asked(&self) -> u64 {
        self.metrics.sent.with_label_values(&[MANAGER, "keepalive"]).get()
    }

    fn received(&self, kind: &str) -> u64 {
        self.metrics.received.with_label_values(&[MANAGER, kind]).get()
    }

    /// As any other participant, past the wire.
    async fn say(&self, notification: Notification) {
        self.wire.bus.publish(notification).await.unwrap();
    }

    async fn announce(&self, worker: &WorkerRef) {
        self.say(new(worker, false)).await;
        self.until(|setup| setup.registry.get(&worker.id).is_some()).await;
    }

    /// A worker that answers each question until it is aborted.
    async fn live(&self, worker: &WorkerRef) -> JoinHandle<()> {
        let mut subscription = self.wire.bus.subscribe().await.unwrap();
        self.announce(worker).await;
        let (wire, worker) = (Arc::clone(&self.wire), worker.clone());
        tokio::spawn(async move {
            while let Some(event) = subscription.next().await {
                if event == Event::Notification(Notification::GetAll) {
                    wire.bus.publish(new(&worker, true)).await.unwrap();
                }
            }
        })
    }
}

fn new(worker: &WorkerRef, resend: bool) -> Notification {
    Notification::New { worker: Announcement { worker: worker.clone(), host: None }, resend }
}

fn worker(kind: &str, n: u64) -> WorkerRef {
    WorkerId::new(&format!("{kind}:{:013}", 1_460_306_476_000 + n)).unwrap().into()
}

fn any(kind: &str) -> Address {
    Address::new(kind).unwrap()
}

#[tokio::test(start_paused = true)]
async fn workers_come_and_go() {
    let setup = start().await;
    assert!(setup.registry.is_empty());
    let (one, two) = (worker("WB", 1), worker("WB", 2));
    setup.announce(&one).await;
    setup.say(new(&two, true)).await;
    setup.until(|setup| setup.registry.len() == 2).await;
    setup.say(Notification::Del(one.clone())).await;
    setup.until(|setup| setup.registry.len() == 1).await;
    setup.say(Notification::Del(two)).await;
    setup.until(|setup| setup.registry.is_gone(&any("WB"))).await;
    assert_eq!((setup.received("worker_registration"), setup.received("worker_deletion")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_answering_expires_and_whoever_answers_stays() {
    let setup = start().await;
    let (live, dead) = (worker("WA", 1), worker("WB", 1));
    let _answering = setup.live(&live).await;
    setup.announce(&dead).await;
    let begin = Instant::now();
    setup.until(|setup| setup.registry.is_gone(&any("WB"))).await;
    let took = begin.elapsed();
    assert!(took >= EXPIRE_AFTER && took <= EXPIRE_AFTER + KEEPALIVE + KEEPALIVE / 10, "{took:?}");
    tokio::time::sleep(EXPIRE_AFTER * 10).await;
    assert!(setup.registry.get(&live.id).is_some());
    assert_eq!(setup.metrics.workers_expired.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_was_away_expires_nobody() {
    let setup = start().await;
    let live = worker("WB", 1);
    let answering = setup.live(&live).await;
    for _ in 0..3 {
        // Cut right after a question, while its answer is due.
        setup.wire.state.send_replace(BusState::Away { error: "cut".to_owned() });
        let asked = setup.asked();
        tokio::time::sleep(EXPIRE_AFTER * 10).await;
        assert_eq!(setup.registry.len(), 1, "the clock stands still while the bus is away");
        assert_eq!(setup.asked(), asked, "no worker could hear it");
        setup.wire.state.send_replace(BusState::Connected);
        setup.until(|setup| setup.asked() > asked).await;
    }
    // And it goes on after that.
    answering.abort();
    setup.until(|setup| setup.registry.is_gone(&any("WB"))).await;
}

#[tokio::test(start_paused = true)]
async fn without_keepalive_it_asks_only_at_the_start_and_after_a_loss() {
    let config = ManagerOptions { keepalive: None, ..config() };
    let setup = start_with(BusLimits { notifications: 4, ..BusLimits::default() }, config, true).await;
    setup.announce(&worker("WB", 1)).await;
    tokio::time::sleep(KEEPALIVE * 100).await;
    assert_eq!((setup.asked(), setup.registry.len()), (1, 1));
    // More than a subscriber's queue holds, said before the manager gets to run.
    for n in 0..50 {
        setup.say(new(&worker("WC", n), false)).await;
    }
    setup.until(|setup| setup.asked() > 1).await;
    tokio::time::sleep(KEEPALIVE).await;
    assert_eq!(setup.asked(), 2, "its own question must not make it miss more, and so ask for ever");
}

#[tokio::test(start_paused = true)]
async fn requests_and_failures_are_counted_and_nonsense_is_refused() {
    let setup = start().await;
    setup.announce(&worker("WB", 1)).await;
    setup.say(Notification::ListRequest).await;
    let target = worker("WB", 1);
    let id = JobId::new("J1").unwrap();
    for error in
        ["No worker available for this job", "no worker available for WD:*", "Job send too many times", "ééééééééééééé"]
    {
        let (target, correlation) = (target.clone(), id.clone());
        let failure =
            Failure { target, error: error.to_owned(), id: id.clone(), correlation, reporter: None, payload: None };
        setup.say(Notification::Error(failure)).await;
    }
    let mut liar = worker("WB", 2);
    liar.worker_type = worker("WX", 1).worker_type;
    setup.say(new(&liar, false)).await;
    setup.until(|setup| setup.received("worker_registration") == 2).await;
    assert_eq!((setup.received("workers_list_request"), setup.received("error")), (1, 4));
    assert_eq!(setup.metrics.job_errors.with_label_values(&[MANAGER, "no_worker_available"]).get(), 2);
    assert_eq!(setup.registry.len(), 1);
    assert_eq!(setup.metrics.malformed.with_label_values(&["bus", "announcement"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_stands_by_asks_nobody_and_believes_whoever_asks() {
    let setup = stand_by().await;
    let (live, dead) = (worker("WA", 1), worker("WB", 1));
    let _answering = setup.live(&live).await;
    setup.announce(&dead).await;
    tokio::time::sleep(EXPIRE_AFTER * 10).await;
    assert_eq!((setup.asked(), setup.registry.len()), (1, 2), "no manager probes, so no worker owes an answer");

    let another_asks = Instant::now();
    setup.say(Notification::GetAll).await;
    setup.until(|setup| setup.registry.is_gone(&any("WB"))).await;
    assert!(another_asks.elapsed() >= EXPIRE_AFTER && another_asks.elapsed() < EXPIRE_AFTER + KEEPALIVE);
    assert_eq!((setup.asked(), setup.registry.len()), (1, 1));
    assert_eq!(setup.metrics.manager_active.get(), 0);
    assert!(setup.wire.cleaned_up.lock().is_empty(), "tidying up is the active one's");
}

#[tokio::test(start_paused = true)]
async fn what_another_asks_after_a_loss_need_not_be_asked_again() {
    let setup = stand_by().await;
    for another_asks in [true, false] {
        let asked = setup.asked();
        setup.wire.state.send_replace(BusState::Away { error: "cut".to_owned() });
        tokio::time::sleep(KEEPALIVE).await;
        setup.wire.state.send_replace(BusState::Connected);
        tokio::time::sleep(CATCH_UP_STANDING_BY / 2).await;
        if another_asks {
            setup.say(Notification::GetAll).await;
        }
        tokio::time::sleep(KEEPALIVE).await;
        assert_eq!(setup.asked() > asked, !another_asks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_takes_over_probes_at_once_and_deletes_the_queues_of_the_dead() {
    let setup = stand_by().await;
    let (live, early, late) = (worker("WA", 1), worker("WB", 1), worker("WC", 1));
    let _answering = setup.live(&live).await;
    setup.announce(&early).await;
    // The active manager asks once more, and dies before it has tidied up after this worker.
    tokio::time::sleep(KEEPALIVE).await;
    setup.say(Notification::GetAll).await;
    setup.until(|setup| setup.registry.is_gone(&any("WB"))).await;
    setup.announce(&late).await;
    tokio::time::sleep(KEEPALIVE).await;

    let began = Instant::now();
    setup.wire.leads.send_replace(true);
    setup.until(|setup| setup.asked() == 2).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(setup.metrics.manager_active.get(), 1);
    setup.until(|setup| *setup.wire.cleaned_up.lock() == [early.clone()]).await;
    setup.until(|setup| *setup.wire.cleaned_up.lock() == [early.clone(), late.clone()]).await;
    assert!(began.elapsed() <= EXPIRE_AFTER + KEEPALIVE, "{:?}", began.elapsed());
    assert_eq!(setup.registry.list().len(), 1, "a worker that answers stays");

    setup.wire.leads.send_replace(false);
    setup.until(|setup| setup.metrics.manager_active.get() == 0).await;
    let asked = setup.asked();
    tokio::time::sleep(EXPIRE_AFTER).await;
    assert!(setup.asked() <= asked + 1, "only in case that no other manager is active");
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_a_worker_that_has_come_back_stays() {
    let setup = stand_by().await;
    let slow = worker("WB", 1);
    setup.announce(&slow).await;
    tokio::time::sleep(KEEPALIVE).await;
    setup.say(Notification::GetAll).await;
    setup.until(|setup| setup.registry.is_gone(&any("WB"))).await;
    setup.announce(&slow).await;
    setup.wire.leads.send_replace(true);
    setup.until(|setup| setup.asked() == 2).await;
    tokio::time::sleep(KEEPALIVE).await;
    assert!(setup.wire.cleaned_up.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_told_and_when_the_bus_closes() {
    let told = start().await;
    told.stop.cancel();
    told.task.await.unwrap().unwrap();
    let closed = start().await;
    closed.wire.close().await;
    closed.task.await.unwrap().unwrap();
}

#[test]
fn its_id_is_what_the_original_expects() {
    let id = new_id();
    assert_eq!(id.len(), 15, "{id}");
    assert!(id.starts_with("SM") && id[2..].bytes().all(|b| b.is_ascii_digit()), "{id}");
}
