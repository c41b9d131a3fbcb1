//! A worker's place on the broker: its channel and its two consumers, made again ([`super::joining`]) whenever they are
//! gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::{Channel, Consumer as Stream};
use mshost_bus::BusError;
use mshost_core::ids::WorkerRef;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Shared;
use super::acks::Acks;
use super::connection::{Down, backoff, next_link};
use super::errors;
use super::joining::settle_in;
use super::members::Member;
use super::names::QueueKind;

/// How often queues and bindings are declared again in case somebody has deleted them: the broker tells a consumer that its
/// queue is gone, but not that nothing leads there any more.
const REASSERT: Duration = Duration::from_secs(60);

/// Consumes from the type's queue, and from the worker's own.
#[derive(Default)]
pub(super) struct Streams {
    /// Which of the worker's channels this is.
    pub(super) generation: u64,
    pub(super) channel: Option<Channel>,
    /// Where there is a channel.
    pub(super) acks: Option<Arc<Acks>>,
    pub(super) down: Down,
    pub(super) by_type: Option<Stream>,
    pub(super) by_id: Option<Stream>,
    /// See [`super::hold`].
    pub(super) hold: Option<Stream>,
}

/// What the broker delivers to, as far as is known.
#[derive(Default)]
struct Held {
    generation: u64,
    by_type: bool,
    by_id: bool,
}

/// What the worker's consumer and the task that keeps its place share.
pub(super) struct Place {
    pub(super) worker: WorkerRef,
    pub(super) prefetch: u16,
    pub(super) like: QueueKind,
    /// Streams that the consumer has not taken over yet.
    fresh: Mutex<Option<Streams>>,
    /// There are fresh streams.
    pub(super) renewed: Notify,
    lost: Notify,
    held: Mutex<Held>,
    /// The worker's own queue was made for it, and no job could come to it yet.
    pub(super) unbound: AtomicBool,
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
            held: Mutex::default(),
            unbound: AtomicBool::new(false),
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

    /// Whether it takes them now or will again.
    pub(super) fn stays(&self) -> bool {
        !self.left_type.load(Ordering::Acquire) && !self.left.is_cancelled()
    }

    /// The worker takes jobs of its type again.
    pub(super) fn resume(&self) {
        self.paused.store(false, Ordering::Release);
        self.resumed.notify_one();
    }

    /// A stream has ended, or the worker has ended it.
    pub(super) fn no_longer(&self, by_type: bool, generation: u64) {
        let mut held = self.held.lock();
        // That of an earlier channel has been replaced, or is about to be.
        if held.generation == generation {
            *if by_type { &mut held.by_type } else { &mut held.by_id } = false;
            self.lost.notify_one();
        }
    }

    /// Whether the worker should have jobs of its type, or for its id, and the broker has no consumer for them.
    pub(super) fn missing(&self) -> (bool, bool) {
        let held = self.held.lock();
        (self.takes_type() && !held.by_type, !held.by_id)
    }

    /// Nothing is held on a channel that is made now. Its number.
    pub(super) fn start_anew(&self) -> u64 {
        let mut held = self.held.lock();
        *held = Held { generation: held.generation + 1, ..Held::default() };
        held.generation
    }

    /// Hands streams to the worker.
    pub(super) fn offer(&self, streams: Streams) {
        let mut held = self.held.lock();
        held.by_type |= streams.by_type.is_some();
        held.by_id |= streams.by_id.is_some();
        drop(held);
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
                    if link.is_up() && place.missing() != (false, false) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use mshost_bus::Durability;
    use mshost_core::ids::WorkerId;

    use super::*;

    /// Its consumer may look at the stream of a channel that broke while a place on another is made already. To consume once
    /// more there would leave jobs in a stream that nobody reads.
    #[test]
    fn the_end_of_an_earlier_stream_is_no_loss() {
        let like = QueueKind { durability: Durability::Durable, limit: 1 };
        let place = Place::new(WorkerId::new("W:1460306476102").unwrap().into(), 1, like);
        let (first, second) = (place.start_anew(), place.start_anew());
        assert_eq!(place.missing(), (true, true));
        *place.held.lock() = Held { generation: second, by_type: true, by_id: true };
        place.no_longer(true, first);
        place.no_longer(false, first);
        assert_eq!(place.missing(), (false, false));
        place.no_longer(false, second);
        assert_eq!(place.missing(), (false, true));
    }
}
