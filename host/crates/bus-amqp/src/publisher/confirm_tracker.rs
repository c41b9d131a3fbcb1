//! Published and not yet confirmed: what a publisher waits for.
//!
//! A broker returns an unroutable message and then confirms it. lapin hands a returned message to whichever confirm it
//! resolves next, and resolves the confirms of one `multiple` frame in no order; so the one that gets it need not be
//! the one it belongs to. [`ConfirmTracker`] puts that right. lapin's thread resolves one after the other, so:
//!
//! - whatever was resolved before a confirm that we see is ready too, and [`ConfirmTracker::poll_settled`] takes all that is;
//! - each returned message is handed out once, at the latest with its own confirm or one resolved after it. Hence, as
//!   soon as every returned message seen belongs to a confirm seen, no confirm seen is owed another.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use lapin::Confirmation;
use parking_lot::Mutex;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishOutcome {
    /// The broker has it.
    Confirmed,
    /// It has no queue for it.
    Returned,
    /// It would not take it.
    Refused,
}

/// A publish under way.
pub(crate) type PendingPublish = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

struct TrackedPublish<T> {
    item: T,
    /// What a returned message is recognised by.
    id: Option<String>,
    publishing: PendingPublish,
    waker: Waker,
    returned: bool,
}

/// Messages in the order in which they were published.
pub(crate) struct ConfirmTracker<T> {
    /// The slot of number `first + i` is at `i`; `None` once it is confirmed.
    slots: VecDeque<Option<TrackedPublish<T>>>,
    first: u64,
    ready: Arc<ReadySlots>,
    /// Confirmed, and perhaps owed a returned message.
    undecided: Vec<(T, Option<String>, PublishOutcome)>,
    /// Returned messages seen whose confirm has not been seen.
    owed: usize,
}

impl<T> ConfirmTracker<T> {
    pub(crate) fn new() -> Self {
        Self { slots: VecDeque::new(), first: 0, ready: Arc::default(), undecided: Vec::new(), owed: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.undecided.is_empty()
    }

    /// Starts a publish: it is polled once here, which is what puts it on its way in the order of the calls.
    pub(crate) fn push(&mut self, item: T, id: Option<String>, publishing: PendingPublish) {
        let number = self.first + self.slots.len() as u64;
        let waker = Waker::from(Arc::new(SlotWaker { number, ready: Arc::clone(&self.ready) }));
        self.slots.push_back(Some(TrackedPublish { item, id, publishing, waker, returned: false }));
        // The result, if there is one already, is taken in turn with the others.
        if let Some(slot) = self.slots.back_mut().and_then(Option::as_mut)
            && let Poll::Ready(result) = slot.publishing.as_mut().poll(&mut Context::from_waker(&slot.waker))
        {
            slot.publishing = Box::pin(std::future::ready(result));
            slot.waker.wake_by_ref();
        }
    }

    /// Whatever is settled now, at least one; the error of the channel where it broke.
    pub(crate) fn poll_settled(
        &mut self,
        cx: &mut Context<'_>,
        settled: &mut Vec<(T, PublishOutcome)>,
    ) -> Poll<lapin::Result<()>> {
        self.ready.waker.register(cx.waker());
        loop {
            let numbers = std::mem::take(&mut *self.ready.numbers.lock());
            if numbers.is_empty() {
                break;
            }
            for number in numbers {
                if let Err(error) = self.poll_slot(number, settled) {
                    return Poll::Ready(Err(error));
                }
            }
        }
        while matches!(self.slots.front(), Some(None)) {
            self.slots.pop_front();
            self.first += 1;
        }
        if self.owed == 0 {
            settled.extend(self.undecided.drain(..).map(|(item, _, outcome)| (item, outcome)));
        }
        if settled.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_slot(&mut self, number: u64, settled: &mut Vec<(T, PublishOutcome)>) -> lapin::Result<()> {
        let Some(index) = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok()) else {
            return Ok(());
        };
        let Some(place) = self.slots.get_mut(index) else { return Ok(()) };
        let Some(slot) = place else { return Ok(()) };
        let Poll::Ready(result) = slot.publishing.as_mut().poll(&mut Context::from_waker(&slot.waker)) else {
            return Ok(());
        };
        // On an error the slot stays: its message has to be published again.
        let (outcome, returned) = match result {
            Ok(Confirmation::Ack(returned)) => (PublishOutcome::Confirmed, returned),
            Ok(Confirmation::Nack(returned)) => (PublishOutcome::Refused, returned),
            // Only a channel without confirms says so, and there is none.
            Ok(Confirmation::NotRequested) => (PublishOutcome::Refused, None),
            Err(error) => {
                slot.publishing = Box::pin(std::future::pending());
                return Err(error);
            }
        };
        if let Some(slot) = place.take() {
            if slot.returned {
                self.owed -= 1;
                settled.push((slot.item, PublishOutcome::Returned));
            } else {
                self.undecided.push((slot.item, slot.id, outcome));
            }
        }
        if let Some(message) = returned {
            self.attribute(message.delivery.properties.message_id().as_ref().map(|id| id.as_str()), settled);
        }
        Ok(())
    }

    /// Finds the publish that a returned message belongs to. The same id twice is the same job twice: either will do.
    fn attribute(&mut self, id: Option<&str>, settled: &mut Vec<(T, PublishOutcome)>) {
        if let Some(index) = self.undecided.iter().position(|(_, mine, _)| mine.as_deref() == id) {
            let (item, _, _) = self.undecided.remove(index);
            settled.push((item, PublishOutcome::Returned));
        } else if let Some(slot) =
            self.slots.iter_mut().flatten().find(|slot| !slot.returned && slot.id.as_deref() == id)
        {
            slot.returned = true;
            self.owed += 1;
        }
    }

    /// Looks at every message that is under way.
    pub(crate) fn items_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten().map(|slot| &mut slot.item)
    }

    /// Gives up: what is known to have been returned, and what may have arrived or not.
    pub(crate) fn abandon(self) -> (Vec<T>, Vec<T>) {
        let (mut returned, mut unknown) = (Vec::new(), Vec::new());
        unknown.extend(self.undecided.into_iter().map(|(item, _, _)| item));
        for slot in self.slots.into_iter().flatten() {
            if slot.returned { &mut returned } else { &mut unknown }.push(slot.item);
        }
        (returned, unknown)
    }
}

/// The numbers of the slots that are worth a poll.
#[derive(Default)]
struct ReadySlots {
    numbers: Mutex<Vec<u64>>,
    waker: AtomicWaker,
}

struct SlotWaker {
    number: u64,
    ready: Arc<ReadySlots>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.numbers.lock().push(self.number);
        self.ready.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use lapin::BasicProperties;
    use lapin::message::{BasicReturnMessage, Delivery};
    use proptest::prelude::*;
    use tokio::sync::oneshot;

    use super::*;

    /// Does to confirms what lapin does: a returned message goes with the confirm that is resolved next.
    struct Lapin {
        confirms: Vec<Option<oneshot::Sender<Confirmation>>>,
        returned: VecDeque<usize>,
    }

    impl Lapin {
        fn publish(&mut self) -> PendingPublish {
            let (confirm, confirmed) = oneshot::channel();
            self.confirms.push(Some(confirm));
            Box::pin(async move { Ok(confirmed.await.unwrap()) })
        }

        fn resolve(&mut self, number: usize) {
            let message = self.returned.pop_front().map(|number| {
                let mut delivery = Delivery::mock(0, "".into(), "".into(), false, Vec::new());
                delivery.properties = BasicProperties::default().with_message_id(number.to_string().into());
                BasicReturnMessage { delivery, reply_code: 312, reply_text: "NO_ROUTE".into() }
            });
            self.confirms[number].take().unwrap().send(Confirmation::Ack(message)).ok().unwrap();
        }
    }

    fn poll(tracker: &mut ConfirmTracker<usize>, outcomes: &mut Vec<(usize, PublishOutcome)>) {
        let _ = tracker.poll_settled(&mut Context::from_waker(Waker::noop()), outcomes);
    }

    proptest! {
        /// Whatever the order of returns and confirms, each message has its own outcome, and none is settled too early.
        #[test]
        fn each_message_has_its_own_outcome(
            routable in prop::collection::vec(any::<bool>(), 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 80),
            polled in prop::collection::vec(any::<bool>(), 80),
        ) {
            let mut lapin = Lapin { confirms: Vec::new(), returned: VecDeque::new() };
            let (mut tracker, mut outcomes) = (ConfirmTracker::new(), Vec::new());
            for number in 0..routable.len() {
                tracker.push(number, Some(number.to_string()), lapin.publish());
            }
            // A message is returned at once, and confirmed at any time after that.
            let mut next = 0;
            let mut open = Vec::new();
            for (pick, polled) in order.iter().zip(polled.iter().cycle()) {
                if next < routable.len() && (open.is_empty() || pick.index(2) == 0) {
                    if !routable[next] {
                        lapin.returned.push_back(next);
                    }
                    open.push(next);
                    next += 1;
                } else if !open.is_empty() {
                    lapin.resolve(open.swap_remove(pick.index(open.len())));
                }
                if *polled {
                    poll(&mut tracker, &mut outcomes);
                }
            }
            for number in open.into_iter().chain(next..routable.len()) {
                if number >= next && !routable[number] {
                    lapin.returned.push_back(number);
                }
                lapin.resolve(number);
            }
            poll(&mut tracker, &mut outcomes);
            prop_assert!(tracker.is_empty());
            outcomes.sort_by_key(|(number, _)| *number);
            let expected: Vec<_> = routable
                .iter()
                .map(|routable| if *routable { PublishOutcome::Confirmed } else { PublishOutcome::Returned })
                .enumerate()
                .collect();
            prop_assert_eq!(outcomes, expected);
        }
    }

    #[test]
    fn a_broken_channel_gives_everything_back_in_order() {
        let mut lapin = Lapin { confirms: Vec::new(), returned: VecDeque::new() };
        let (mut tracker, mut outcomes) = (ConfirmTracker::new(), Vec::new());
        for number in 0..4 {
            tracker.push(number, Some(number.to_string()), lapin.publish());
        }
        lapin.resolve(1);
        poll(&mut tracker, &mut outcomes);
        assert_eq!(outcomes, [(1, PublishOutcome::Confirmed)]);
        // What 2 brings says that 3 was returned. That 2 itself was not is known only when 3 is confirmed.
        lapin.returned.push_back(3);
        lapin.resolve(2);
        poll(&mut tracker, &mut outcomes);
        assert_eq!(outcomes.len(), 1);
        let error = || lapin::Error::from(lapin::ErrorKind::MissingHeartbeatError);
        tracker.push(4, None, Box::pin(async move { Err(error()) }));
        assert!(matches!(
            tracker.poll_settled(&mut Context::from_waker(Waker::noop()), &mut outcomes),
            Poll::Ready(Err(_))
        ));
        assert_eq!(tracker.abandon(), (vec![3], vec![2, 0, 4]));
    }
}
