//! Acks of one channel, as few frames as they need.
//!
//! The broker numbers the deliveries of a channel from 1 without a gap, and an ack may be for all up to a number. One task
//! sends what has gathered while it was busy: one ack for all at the front of which none is in hand any more, and one each for
//! those behind a job that takes longer. What has not been delivered to anybody yet has a number, too, so only a front without
//! a gap is acked as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use lapin::Channel;
use lapin::options::BasicAckOptions;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::link::connection::BrokerLink;

/// See the module. What it was told before it is dropped is sent.
pub(super) struct AckBatch(Arc<AckBatchInner>);

struct AckBatchInner {
    state: Mutex<PendingAcks>,
    /// There is something to send, or nothing will follow.
    work: Notify,
    /// Nothing is sent any more.
    ended: CancellationToken,
}

#[derive(Default)]
struct PendingAcks {
    /// To be acked.
    due: Vec<u64>,
    settled: SettledTags,
    /// Nothing will follow.
    is_last: bool,
}

/// What is to be sent.
#[derive(Debug, Default, PartialEq, Eq)]
struct AckFrames {
    /// Acks all up to this one.
    up_to: Option<u64>,
    each: Vec<u64>,
}

impl AckBatch {
    /// Acks on `channel` until that ends, or its link.
    pub(super) fn start(channel: Channel, link: BrokerLink, runtime: &Handle) -> Self {
        let inner =
            Arc::new(AckBatchInner { state: Mutex::default(), work: Notify::new(), ended: CancellationToken::new() });
        runtime.spawn(Arc::clone(&inner).run(channel, link));
        Self(inner)
    }

    /// Acks a delivery, soon; `false` where the channel is gone and the broker hands it to another.
    pub(super) fn ack(&self, tag: u64) -> bool {
        if self.0.ended.is_cancelled() {
            return false;
        }
        let mut state = self.0.state.lock();
        state.due.push(tag);
        let is_first = state.due.len() == 1;
        drop(state);
        if is_first {
            self.0.work.notify_one();
        }
        true
    }

    /// A delivery has been settled in another way, and the broker has been told.
    pub(super) fn settled_otherwise(&self, tag: u64) {
        self.0.state.lock().settled.insert(tag);
    }

    /// Returns once all that was to be acked has been, or will not be.
    pub(super) async fn finish(&self) {
        self.0.end();
        self.0.ended.cancelled().await;
    }
}

impl Drop for AckBatch {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl AckBatchInner {
    fn end(&self) {
        self.state.lock().is_last = true;
        self.work.notify_one();
    }

    async fn run(self: Arc<Self>, channel: Channel, link: BrokerLink) {
        let _ended = self.ended.clone().drop_guard();
        let waiting = || async {
            self.work.notified().await;
            Ok(())
        };
        while link.down.or(waiting()).await.is_ok() {
            let (frames, is_last) = self.state.lock().take();
            // Where the channel is gone, so are its deliveries.
            if link.answer("ack jobs", frames.send(&channel)).await.is_err() || is_last {
                return;
            }
        }
    }
}

impl PendingAcks {
    /// What is to be sent now, and whether anything may follow.
    fn take(&mut self) -> (AckFrames, bool) {
        let mut each = std::mem::take(&mut self.due);
        each.sort_unstable();
        each.iter().for_each(|tag| self.settled.insert(*tag));
        let front = self.settled.front();
        // The broker wants a number that it waits for.
        let at_front = each.partition_point(|tag| *tag <= front);
        let up_to = each.drain(..at_front).next_back();
        (AckFrames { up_to, each }, self.is_last)
    }
}

impl AckFrames {
    async fn send(self, channel: &Channel) -> lapin::Result<()> {
        if let Some(tag) = self.up_to {
            channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
        }
        let each = self.each.into_iter().map(|tag| channel.basic_ack(tag, BasicAckOptions::default()));
        try_join_all(each).await.map(drop)
    }
}

/// The numbers of settled deliveries, as ranges: between two of them is a delivery in hand, so there are no more than those.
#[derive(Default)]
struct SettledTags(BTreeMap<u64, u64>);

impl SettledTags {
    fn insert(&mut self, tag: u64) {
        let before = self.0.range(..=tag).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| tag <= last) {
            return;
        }
        let first = before.filter(|(_, last)| last + 1 == tag).map_or(tag, |(first, _)| first);
        let last = self.0.remove(&(tag + 1)).unwrap_or(tag);
        self.0.insert(first, last);
    }

    /// The last number of which it and all before are settled; 0 where the first is not.
    fn front(&self) -> u64 {
        self.0.get(&1).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn acked(state: &mut PendingAcks, tags: &[u64]) -> AckFrames {
        state.due.extend(tags);
        state.take().0
    }

    #[test]
    fn a_front_without_a_gap_is_acked_as_one() {
        let mut state = PendingAcks::default();
        assert_eq!(acked(&mut state, &[2, 3]), AckFrames { up_to: None, each: vec![2, 3] });
        assert_eq!(acked(&mut state, &[5]), AckFrames { up_to: None, each: vec![5] });
        // Up to the latest that the broker still waits for.
        assert_eq!(acked(&mut state, &[1]), AckFrames { up_to: Some(1), each: Vec::new() });
        state.settled.insert(4);
        assert_eq!(acked(&mut state, &[8, 7, 6]), AckFrames { up_to: Some(8), each: Vec::new() });
        assert_eq!(acked(&mut state, &[]), AckFrames::default());
    }

    struct FakeBroker {
        waits: BTreeSet<u64>,
        acked: BTreeSet<u64>,
    }

    impl Default for FakeBroker {
        fn default() -> Self {
            Self { waits: (1..=60).collect(), acked: BTreeSet::new() }
        }
    }

    impl FakeBroker {
        fn hear(&mut self, AckFrames { up_to, each }: AckFrames) {
            for tag in up_to.iter().chain(&each) {
                assert!(self.waits.contains(tag), "unknown delivery tag {tag}");
            }
            let all = up_to.into_iter().flat_map(|last| self.waits.range(..=last).copied().collect::<Vec<_>>());
            self.acked.extend(all.chain(each).collect::<Vec<_>>());
            self.waits.retain(|tag| !self.acked.contains(tag));
        }
    }

    proptest! {
        /// Deliveries are settled in any order, some of them in another way, some never: what the broker takes for acked is
        /// exactly what was to be.
        #[test]
        fn the_broker_takes_exactly_those_for_acked(
            order in Just((1..=60_u64).collect::<Vec<_>>()).prop_shuffle(),
            ends in prop::collection::vec(0..8_u8, 60),
            pauses in prop::collection::vec(any::<bool>(), 60),
        ) {
            let (mut state, mut broker) = (PendingAcks::default(), FakeBroker::default());
            let mut wanted = BTreeSet::new();
            for (tag, (end, pause)) in order.into_iter().zip(ends.into_iter().zip(pauses)) {
                match end {
                    0 => {}
                    1 => {
                        broker.waits.remove(&tag);
                        state.settled.insert(tag);
                    }
                    _ => {
                        wanted.insert(tag);
                        state.due.push(tag);
                    }
                }
                if pause {
                    broker.hear(state.take().0);
                    prop_assert!(broker.acked.is_subset(&wanted), "{:?} of {wanted:?}", broker.acked);
                }
                prop_assert!(state.settled.0.len() <= broker.waits.len() + 1);
            }
            broker.hear(state.take().0);
            prop_assert_eq!(broker.acked, wanted);
        }
    }
}
