//! A round trip between two tasks over tokio's bounded mpsc channels.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Messages that a channel holds.
const CAPACITY: usize = 1_024;

/// The mean time of one round trip, with `in_flight` of them under way at any time.
///
/// # Panics
/// Where `in_flight` is zero or more than a channel holds.
pub async fn round_trip(round_trips: u32, in_flight: u32, payload: Bytes) -> Duration {
    assert!((1..=CAPACITY as u32).contains(&in_flight), "in_flight is 1 to {CAPACITY}");
    let (there, mut at_peer) = mpsc::channel::<Bytes>(CAPACITY);
    let (back, mut here) = mpsc::channel::<Bytes>(CAPACITY);
    let peer = tokio::spawn(async move {
        while let Some(message) = at_peer.recv().await {
            if back.send(message).await.is_err() {
                break;
            }
        }
    });
    let started = Instant::now();
    let asking = tokio::spawn(async move {
        for _ in 0..in_flight {
            let _ = there.send(payload.clone()).await;
        }
        for sent in in_flight..round_trips + in_flight {
            let Some(message) = here.recv().await else { break };
            if sent < round_trips {
                let _ = there.send(message).await;
            }
        }
    });
    let _ = asking.await;
    let elapsed = started.elapsed();
    let _ = peer.await;
    elapsed / round_trips
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_message_comes_back() {
        for in_flight in [1, 7, CAPACITY as u32] {
            let mean = round_trip(2_000, in_flight, Bytes::from_static(b"x")).await;
            assert!(mean > Duration::ZERO && mean < Duration::from_secs(1), "{mean:?}");
        }
    }
}
