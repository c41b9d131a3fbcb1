//! Publishing: one task, one channel, a bounded window of messages that are not yet confirmed.
//!
//! A message leaves the window when its fate is known. What was published on a channel that broke is published again on
//! the next, marked as resent. Senders wait for a place in the window; that is all the buffer there is.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use mshost_bus::BusState;
use mshost_core::backoff::Backoff;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Shared;
use super::connection::Link;
use super::inflight::{Fate, InFlight};
use super::{errors, names};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(50);
/// The first and the longest wait before a message is offered again to a queue that is full.
const REFUSED_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// How many messages are taken over from senders at once.
const BATCH: usize = 64;
/// Wait before a channel is opened again that broke on a connection that did not.
const REOPEN_WAIT: Duration = Duration::from_millis(100);
/// How long closing waits for the confirms of what is under way.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// A message on its way out.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
    /// Whether it is an error that no queue is there for it.
    pub(super) mandatory: bool,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

/// Why it is not known that a message has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublishError {
    /// No queue is there for it.
    Returned,
    /// Its queue is full. Gets out of [`Publisher::offer`] alone.
    Refused,
    /// No queue is there for it now, but there may have been one for a first copy, whose confirm never came. Never gets out of
    /// [`Publisher`].
    Doubtful,
    /// Not in time.
    TimedOut(String),
    /// The bus is closed.
    Closed,
}

type Reply = oneshot::Sender<Result<(), PublishError>>;

struct Request {
    message: Arc<Outgoing>,
    deadline: Instant,
    /// `None` once answered: the message may still be under way, and holds its place in the window until it is not.
    reply: Option<Reply>,
    resent: bool,
    _place: OwnedSemaphorePermit,
}

impl Request {
    fn answer(&mut self, result: Result<(), PublishError>) {
        if let Some(reply) = self.reply.take() {
            // The sender may have stopped waiting.
            let _ = reply.send(result);
        }
    }

    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// The senders' side.
#[derive(Debug)]
pub(super) struct Publisher {
    requests: mpsc::Sender<Request>,
    window: Arc<Semaphore>,
    limit: usize,
    timeout: Duration,
    runtime: Handle,
    /// Cancelled when [`run`] has ended.
    ended: CancellationToken,
}

impl Publisher {
    /// The senders' side, and what [`run`] takes.
    pub(super) fn new(window: usize, timeout: Duration, runtime: Handle) -> (Self, Requests) {
        let window = window.clamp(1, Semaphore::MAX_PERMITS);
        // Each request holds a place in the window, so that there is always room for it here.
        let (requests, receiver) = mpsc::channel(window);
        let limit = window;
        let window = Arc::new(Semaphore::new(window));
        let ended = CancellationToken::new();
        (Self { requests, window, limit, timeout, runtime, ended: ended.clone() }, Requests { receiver, ended })
    }

    /// Publishes and waits for the confirm. Where the queue is full it waits outside of the window, which is there for those
    /// who empty it.
    pub(super) async fn publish(&self, message: Outgoing, shared: &Shared) -> Result<(), PublishError> {
        self.publish_if(message, true, shared).await
    }

    /// The same, but does not wait for room: for those without whom there may never be any.
    pub(super) async fn offer(&self, message: Outgoing, shared: &Shared) -> Result<(), PublishError> {
        self.publish_if(message, false, shared).await
    }

    async fn publish_if(&self, message: Outgoing, waits: bool, shared: &Shared) -> Result<(), PublishError> {
        let (message, deadline) = (Arc::new(message), Instant::now() + self.timeout);
        let mut backoff = Backoff::new(REFUSED_WAIT.0, REFUSED_WAIT.1, 0.5);
        let mut resent = false;
        loop {
            let why = match self.publish_once(Arc::clone(&message), deadline, resent, shared).await {
                Err(PublishError::Refused) => {
                    shared.metrics.bus_refused.inc();
                    if !waits {
                        return Err(PublishError::Refused);
                    }
                    "is full (`bus.queue_limit`, `bus.dead_letter_limit`) and did not take the message"
                }
                Err(PublishError::Doubtful) => {
                    resent = true;
                    "is not there now and may have taken the message before the connection broke; it did not come back"
                }
                published => return published,
            };
            let again = Instant::now() + backoff.next_wait();
            if again >= deadline {
                let (broker, queue) = (&shared.endpoint, &message.key);
                return Err(PublishError::TimedOut(format!(
                    "{broker}: the queue of {queue} {why} within `bus.send_timeout`"
                )));
            }
            tokio::select! {
                () = self.sleep_until(again) => {}
                () = shared.closed.cancelled() => return Err(PublishError::Closed),
            }
        }
    }

    async fn publish_once(
        &self,
        message: Arc<Outgoing>,
        deadline: Instant,
        resent: bool,
        shared: &Shared,
    ) -> Result<(), PublishError> {
        let place = match Arc::clone(&self.window).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => self.wait_for_place(deadline, shared).await?,
        };
        shared.metrics.bus_in_flight.set(i64::try_from(self.in_flight()).unwrap_or(i64::MAX));
        let (reply, answer) = oneshot::channel();
        let request = Request { message, deadline, reply: Some(reply), resent, _place: place };
        if self.requests.try_send(request).is_err() {
            return Err(PublishError::Closed);
        }
        answer.await.unwrap_or(Err(PublishError::Closed))
    }

    /// Returns once nothing more is published.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    async fn wait_for_place(&self, deadline: Instant, shared: &Shared) -> Result<OwnedSemaphorePermit, PublishError> {
        tokio::select! {
            place = Arc::clone(&self.window).acquire_owned() => place.map_err(|_| PublishError::Closed),
            () = self.sleep_until(deadline) => Err(PublishError::TimedOut(why(shared))),
            () = shared.closed.cancelled() => Err(PublishError::Closed),
        }
    }

    /// The caller's runtime need not have a clock; ours has.
    fn sleep_until(&self, instant: Instant) -> tokio::time::Sleep {
        let _entered = self.runtime.enter();
        tokio::time::sleep_until(instant.into())
    }

    /// How many messages are not confirmed yet.
    fn in_flight(&self) -> usize {
        self.limit - self.window.available_permits()
    }
}

/// The requests of all senders.
pub(super) struct Requests {
    receiver: mpsc::Receiver<Request>,
    ended: CancellationToken,
}

/// Publishes until the bus is closed.
pub(super) async fn run(shared: Arc<Shared>, requests: Requests) {
    let _ended = requests.ended.drop_guard();
    let mut worker = Worker { requests: requests.receiver, waiting: VecDeque::new(), inflight: InFlight::new() };
    loop {
        let Some(link) = worker.wait_for_link(&shared).await else { break };
        let result = match link.down.or(open(&link)).await {
            Ok(channel) => worker.serve(&shared, &link, &channel).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(Ended::Closed) => break,
            Ok(Ended::NewLink) => {}
            // An exchange was deleted, and with it the bindings of every queue. Connecting again makes them all anew.
            Err(error) if errors::code(&error) == Some(errors::NOT_FOUND) => {
                warn!(target: "mshost::bus", "{}; declaring everything again", errors::text(&error));
                link.close().await;
                shared.trouble.notify_one();
            }
            Err(error) => {
                shared.trouble.notify_one();
                if link.is_up() {
                    warn!(target: "mshost::bus", "the channel for publishing broke: {}; opening another", errors::text(&error));
                    tokio::time::sleep(REOPEN_WAIT).await;
                }
            }
        }
        worker.take_back();
    }
    worker.refuse_all();
}

async fn open(link: &Link) -> lapin::Result<Channel> {
    let channel = link.publish.create_channel().await?;
    names::declare_exchanges(&channel).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// Why [`Worker::serve`] ended, where nothing broke.
enum Ended {
    Closed,
    NewLink,
}

struct Worker {
    requests: mpsc::Receiver<Request>,
    /// Not published, or to be published again. At most as many as the window has places.
    waiting: VecDeque<Request>,
    inflight: InFlight<Request>,
}

impl Worker {
    /// Waits until the bus can be used, and meanwhile for the deadlines of those who wait for that.
    async fn wait_for_link(&mut self, shared: &Shared) -> Option<Link> {
        let mut ready = shared.ready.subscribe();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                () = shared.closed.cancelled() => return None,
                link = ready.wait_for(Option::is_some) => return link.ok()?.clone(),
                request = self.requests.recv() => self.waiting.push_back(request?),
                _ = tick.tick() => self.expire(shared),
            }
        }
    }

    async fn serve(&mut self, shared: &Shared, link: &Link, channel: &Channel) -> lapin::Result<Ended> {
        let mut ready = shared.ready.subscribe();
        let mut blocked = shared.blocked.subscribe();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut settled = Vec::new();
        loop {
            if !*blocked.borrow_and_update() {
                while let Some(request) = self.waiting.pop_front() {
                    self.start(channel, request);
                }
            }
            let idle = self.inflight.is_empty() && self.waiting.is_empty();
            tokio::select! {
                biased;
                () = shared.closed.cancelled() => {
                    let _ = tokio::time::timeout(CLOSE_WAIT, self.finish()).await;
                    return Ok(Ended::Closed);
                }
                result = poll_fn(|cx| self.inflight.poll_settled(cx, &mut settled)) => {
                    answer(&mut settled);
                    result?;
                }
                taken = self.requests.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return Ok(Ended::Closed);
                    }
                    self.waiting.extend(batch.drain(..));
                }
                changed = ready.changed() => {
                    let same = ready.borrow().as_ref().is_some_and(|new| new.epoch == link.epoch);
                    if changed.is_err() || !same {
                        return Ok(Ended::NewLink);
                    }
                }
                _ = blocked.changed() => {}
                _ = tick.tick(), if !idle => self.expire(shared),
            }
        }
    }

    fn start(&mut self, channel: &Channel, request: Request) {
        if request.is_abandoned() {
            return;
        }
        let message = Arc::clone(&request.message);
        let id = message.properties.message_id().as_ref().map(ToString::to_string);
        let properties = if request.resent { mark_resent(&message.properties) } else { message.properties.clone() };
        let channel = channel.clone();
        let publishing = Box::pin(async move {
            let options = BasicPublishOptions { mandatory: message.mandatory, ..BasicPublishOptions::default() };
            let (exchange, key) = (message.exchange.clone(), message.key.clone());
            channel.basic_publish(exchange, key, options, &message.body, properties).await?.await
        });
        self.inflight.push(request, id, publishing);
    }

    /// Tells those whose time is over. What is under way keeps its place: the broker may still take it.
    fn expire(&mut self, shared: &Shared) {
        let now = Instant::now();
        let late = |request: &Request| request.deadline <= now && request.reply.is_some();
        for request in self.inflight.items_mut().filter(|request| late(request)) {
            request.answer(Err(PublishError::TimedOut(why(shared))));
        }
        for request in self.waiting.iter_mut().filter(|request| late(request)) {
            request.answer(Err(PublishError::TimedOut(why(shared))));
        }
        self.waiting.retain(|request| !request.is_abandoned());
    }

    /// After a channel broke: what is not known to have arrived goes before what has never been sent.
    fn take_back(&mut self) {
        let (returned, unknown) = std::mem::replace(&mut self.inflight, InFlight::new()).abandon();
        for mut request in returned {
            request.answer(Err(unroutable(request.resent)));
        }
        for mut request in unknown.into_iter().rev() {
            request.resent = true;
            self.waiting.push_front(request);
        }
    }

    /// Waits for everything that is under way.
    async fn finish(&mut self) -> lapin::Result<()> {
        let mut settled = Vec::new();
        while !self.inflight.is_empty() {
            let result = poll_fn(|cx| self.inflight.poll_settled(cx, &mut settled)).await;
            answer(&mut settled);
            result?;
        }
        Ok(())
    }

    fn refuse_all(&mut self) {
        self.take_back();
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            self.waiting.push_back(request);
        }
        for mut request in self.waiting.drain(..) {
            request.answer(Err(PublishError::Closed));
        }
    }
}

/// What it means that the broker has no queue for a message. Of one that was published before it says nothing about the
/// first copy.
fn unroutable(resent: bool) -> PublishError {
    if resent { PublishError::Doubtful } else { PublishError::Returned }
}

/// Tells senders.
fn answer(settled: &mut Vec<(Request, Fate)>) {
    for (mut request, fate) in settled.drain(..) {
        request.answer(match fate {
            Fate::Confirmed => Ok(()),
            Fate::Returned => Err(unroutable(request.resent)),
            Fate::Refused => Err(PublishError::Refused),
        });
    }
}

/// Why a sender had to wait so long.
fn why(shared: &Shared) -> String {
    let broker = &shared.endpoint;
    match &*shared.state.borrow() {
        BusState::Away { error } => format!("{broker} cannot be reached: {error}"),
        _ if *shared.blocked.borrow() => format!("{broker} is low on memory or disk and takes no messages"),
        _ => format!("{broker} has not confirmed the message within `bus.send_timeout`"),
    }
}

/// Whoever receives it may have received it before.
fn mark_resent(properties: &BasicProperties) -> BasicProperties {
    match properties.headers() {
        // A notification: it carries no properties.
        None => properties.clone(),
        Some(headers) => {
            let mut headers: FieldTable = headers.clone();
            headers.insert(names::RESENT.into(), AMQPValue::Boolean(true));
            properties.clone().with_headers(headers)
        }
    }
}
