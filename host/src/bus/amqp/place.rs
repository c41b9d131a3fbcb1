//! A worker's place on the broker: its channel and its two consumers, made again whenever they are gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer as Stream};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Shared;
use super::connection::{Down, Link, backoff, next_link};
use super::errors::{self, NOT_FOUND};
use super::members::Member;
use super::names::{self, QueueKind};
use crate::bus::{BusError, Durability};
use crate::ids::WorkerRef;

/// How often queues and bindings are declared again in case somebody has deleted them: the broker tells a consumer that its
/// queue is gone, but not that nothing leads there any more.
const REASSERT: Duration = Duration::from_secs(60);
/// How often a join meets a queue that the last worker of its type has just taken away, before it gives up.
const JOIN_RACES: u32 = 10;

/// Consumes from the type's queue, and from the worker's own.
#[derive(Default)]
pub(super) struct Streams {
    pub(super) channel: Option<Channel>,
    pub(super) down: Down,
    pub(super) by_type: Option<Stream>,
    pub(super) by_id: Option<Stream>,
}

/// What the worker's consumer and the task that keeps its place share.
pub(super) struct Place {
    pub(super) worker: WorkerRef,
    prefetch: u16,
    pub(super) like: QueueKind,
    /// Streams that the consumer has not taken over yet.
    fresh: Mutex<Option<Streams>>,
    /// There are fresh streams.
    pub(super) renewed: Notify,
    lost: Notify,
    lost_type: AtomicBool,
    lost_id: AtomicBool,
    /// The worker takes what is for its id, and nothing else any more.
    pub(super) left_type: AtomicBool,
    /// It takes none of its type for now.
    pub(super) paused: AtomicBool,
    /// It takes them again.
    resumed: Notify,
    pub(super) left: CancellationToken,
    /// The consumer was dropped: what it held has been handed back.
    pub(super) gone: AtomicBool,
}

impl Place {
    pub(super) fn new(worker: WorkerRef, prefetch: u16, like: QueueKind) -> Arc<Self> {
        Arc::new(Self {
            worker,
            prefetch,
            like,
            fresh: Mutex::new(None),
            renewed: Notify::new(),
            lost: Notify::new(),
            lost_type: AtomicBool::new(false),
            lost_id: AtomicBool::new(false),
            left_type: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            resumed: Notify::new(),
            left: CancellationToken::new(),
            gone: AtomicBool::new(false),
        })
    }

    /// The streams that were made since this was last called.
    pub(super) fn take_fresh(&self) -> Option<Streams> {
        self.fresh.lock().take()
    }

    /// Whether the worker takes jobs of its type.
    pub(super) fn takes_type(&self) -> bool {
        !self.left_type.load(Ordering::Acquire) && !self.paused.load(Ordering::Acquire)
    }

    /// The worker takes jobs of its type again.
    pub(super) fn resume(&self) {
        self.paused.store(false, Ordering::Release);
        self.lost_type.store(true, Ordering::Release);
        self.resumed.notify_one();
    }

    /// A stream has ended.
    pub(super) fn report_lost(&self, by_type: bool) {
        if by_type { &self.lost_type } else { &self.lost_id }.store(true, Ordering::Release);
        self.lost.notify_one();
    }

    fn offer(&self, streams: Streams) {
        let mut fresh = self.fresh.lock();
        match &mut *fresh {
            // A part of what has not been taken over yet.
            Some(old) if streams.channel.is_none() => {
                old.by_type = streams.by_type.or(old.by_type.take());
                old.by_id = streams.by_id.or(old.by_id.take());
            }
            fresh => *fresh = Some(streams),
        }
        drop(fresh);
        self.renewed.notify_one();
    }
}

/// Keeps a worker's place until it leaves. Tells `joined` about the first time; where the broker refuses, that is all.
pub(super) async fn keep(
    shared: Arc<Shared>,
    place: Arc<Place>,
    member: Member,
    joined: oneshot::Sender<Result<(), BusError>>,
) {
    let mut joined = Some(joined);
    let mut links = shared.link.subscribe();
    let mut epoch = 0;
    loop {
        let link = tokio::select! {
            () = place.left.cancelled() => return,
            link = next_link(&mut links, &shared, epoch) => link,
        };
        let Some(link) = link else { return };
        epoch = link.epoch;
        let mut backoff = backoff();
        let mut channel = None;
        while link.is_up() {
            let settled = tokio::select! {
                () = place.left.cancelled() => return,
                () = shared.closed.cancelled() => return,
                settled = link.down.or(settle_in(&shared, &place, &link, channel.take())) => settled,
            };
            match settled {
                Ok(opened) => {
                    channel = Some(opened);
                    backoff.reset();
                    member.placed(epoch);
                    if let Some(joined) = joined.take() {
                        let _ = joined.send(Ok(()));
                    }
                    tokio::select! {
                        () = place.left.cancelled() => return,
                        () = shared.closed.cancelled() => return,
                        _ = links.wait_for(|now| now.as_ref().is_none_or(|now| now.epoch != epoch)) => break,
                        () = place.lost.notified() => shared.trouble.notify_one(),
                        () = place.resumed.notified() => continue,
                        () = tokio::time::sleep(REASSERT) => continue,
                    }
                    if link.is_up() {
                        info!(target: "mshost::bus", "{} no longer gets jobs from the broker; joining again", place.worker.id);
                    }
                }
                Err(error) => {
                    let error = errors::explain(&format!("join as {}", place.worker.id), &error);
                    if let (BusError::Refused { .. }, Some(joined)) = (&error, joined.take_if(|_| link.is_up())) {
                        let _ = joined.send(Err(error));
                        return;
                    }
                    if link.is_up() {
                        warn!(target: "mshost::bus", "{error}");
                    }
                    tokio::select! {
                        () = place.left.cancelled() => return,
                        () = shared.closed.cancelled() => return,
                        () = tokio::time::sleep(backoff.next_wait()) => {}
                    }
                }
            }
        }
    }
}

/// Declares both queues and consumes from both; on a channel that still works only from what was lost, so that what was
/// delivered there can still be settled.
async fn settle_in(shared: &Shared, place: &Place, link: &Link, channel: Option<Channel>) -> lapin::Result<Channel> {
    let lost_type = place.lost_type.swap(false, Ordering::AcqRel);
    let lost_id = place.lost_id.swap(false, Ordering::AcqRel);
    if let Some(channel) = channel.filter(|channel| channel.status().connected()) {
        if !place.left_type.load(Ordering::Acquire) {
            names::declare_type(&channel, &place.worker.worker_type, place.like).await?;
        }
        names::declare_id(&channel, &place.worker.id, place.like).await?;
        let mut streams = Streams::default();
        if lost_type {
            streams.by_type = consume_type(shared, place, &channel).await?;
        }
        if lost_id {
            streams.by_id = Some(consume_id(place, &channel).await?);
        }
        if lost_type || lost_id {
            place.offer(streams);
        }
        return Ok(channel);
    }
    let mut races = 0;
    loop {
        match open(shared, place, link).await {
            Ok(streams) => {
                let channel = streams.channel.clone();
                place.offer(streams);
                return channel.ok_or_else(|| lapin::ErrorKind::InvalidChannel(0).into());
            }
            // Between our declaring and consuming, the last worker of the type took the queue away.
            Err(error) if errors::code(&error) == Some(NOT_FOUND) && races < JOIN_RACES => {
                races += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn open(shared: &Shared, place: &Place, link: &Link) -> lapin::Result<Streams> {
    let channel = link.consume.create_channel().await?;
    // A limit for both consumers together, where the broker knows that, which quorum queues do not. Else each has its own, `AmqpConsumer` keeps to
    // the sum, and some more jobs wait with this worker that another could have taken.
    let quorum = place.like.durability == Durability::Replicated;
    let global = !quorum && shared.shared_prefetch.load(Ordering::Relaxed);
    channel.basic_qos(place.prefetch, BasicQosOptions { global }).await?;
    let by_type = consume_type(shared, place, &channel).await?;
    let by_id = Some(consume_id(place, &channel).await?);
    Ok(Streams { channel: Some(channel), down: link.down.clone(), by_type, by_id })
}

async fn consume_type(shared: &Shared, place: &Place, channel: &Channel) -> lapin::Result<Option<Stream>> {
    if !place.takes_type() {
        return Ok(None);
    }
    let kind = &place.worker.worker_type;
    // RabbitMQ (3.10.8) says of a quorum queue that is just being made that it is there, and closes the connection with
    // INTERNAL_ERROR when a consumer comes before it really is. So the first workers of a type do not overtake each other
    // here. Those that come back after a broker's crash do not wait for each other: when they did, jobs were seen to stay
    // out.
    if shared.declared.lock().contains(kind) {
        names::declare_type(channel, kind, place.like).await?;
    } else {
        let _one_at_a_time = shared.declaring.lock().await;
        names::declare_type(channel, kind, place.like).await?;
        shared.declared.lock().insert(kind.clone());
    }
    let stream = consume(channel, names::type_queue(kind)).await?;
    // The last worker of the type may have taken away what leads there between the two: see `leave`.
    names::bind(channel, names::type_queue(kind), names::JOBS, kind.as_ref().into()).await?;
    Ok(Some(stream))
}

async fn consume_id(place: &Place, channel: &Channel) -> lapin::Result<Stream> {
    names::declare_id(channel, &place.worker.id, place.like).await?;
    consume(channel, names::id_queue(&place.worker.id)).await
}

async fn consume(channel: &Channel, queue: ShortString) -> lapin::Result<Stream> {
    channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
}
